package rabbitmqtest

import (
	"fmt"
	"slices"
)

// queue holds its messages, or in a discarding broker their sizes only. The broker's lock guards it.
type queue struct {
	name                           string
	durable, exclusive, autoDelete bool
	arguments                      table
	owner                          *conn // of an exclusive queue

	ready        fifo[stored]
	sizes        fifo[uint32]
	discard      bool
	position     uint64
	bytes        int64 // of the bodies that are ready
	unacked      int
	unackedBytes int64

	consumers []*consumer
}

func (q *queue) len() int {
	if q.discard {
		return q.sizes.len()
	}
	return q.ready.len()
}

func (q *queue) push(s stored) {
	size := len(s.payload) - s.propertiesLen
	q.bytes += int64(size)
	if q.discard {
		q.sizes.push(uint32(size))
		return
	}
	q.position++
	s.position = q.position
	q.ready.push(s)
}

func (q *queue) pop() stored {
	if q.discard {
		q.bytes -= int64(q.sizes.pop())
		return stored{}
	}
	s := q.ready.pop()
	q.bytes -= int64(len(s.body()))
	return s
}

// requeue puts messages back where they were.
func (q *queue) requeue(back []stored) {
	if len(back) == 0 {
		return
	}
	slices.SortFunc(back, func(a, b stored) int { return int(int64(a.position) - int64(b.position)) })
	merged := make([]stored, 0, len(back)+q.ready.len())
	rest := q.ready.items()
	for _, s := range back {
		i := 0
		for i < len(rest) && rest[i].position < s.position {
			i++
		}
		merged = append(merged, rest[:i]...)
		rest = rest[i:]
		s.redelivered = true
		q.bytes += int64(len(s.body()))
		merged = append(merged, s)
	}
	q.ready = fifo[stored]{buf: append(merged, rest...)}
}

func (q *queue) purge() int {
	n := q.len()
	q.ready.reset()
	q.sizes.reset()
	q.bytes = 0
	return n
}

// limit is what bounds a queue: its arguments, or what LimitQueue laid over them.
type limit struct {
	messages int // < 0: none
	bytes    int64
	reject   bool
}

func (q *queue) limit(override map[string]int) limit {
	l := limit{messages: -1, bytes: -1}
	if n, ok := q.arguments["x-max-length"].(int64); ok {
		l.messages = int(n)
	}
	if n, ok := q.arguments["x-max-length-bytes"].(int64); ok {
		l.bytes = n
	}
	overflow, _ := q.arguments["x-overflow"].(string)
	l.reject = overflow == "reject-publish" || overflow == "reject-publish-dlx"
	if n, ok := override[q.name]; ok {
		l.messages, l.reject = n, true
	}
	return l
}

// accept stores s unless the queue is full and rejects publishes; full without that, it drops its oldest messages.
func (q *queue) accept(s stored, override map[string]int) bool {
	if q.arguments == nil && len(override) == 0 {
		q.push(s)
		return true
	}
	l := q.limit(override)
	if l.reject && (l.messages >= 0 && q.len() >= l.messages || l.bytes >= 0 && q.bytes >= l.bytes) {
		return false
	}
	q.push(s)
	if !l.reject {
		for q.len() > 0 && (l.messages >= 0 && q.len() > l.messages || l.bytes >= 0 && q.bytes > l.bytes) {
			q.pop()
		}
	}
	return true
}

// exchange routes by equal key, or to all for a fanout. The broker's lock guards it.
type exchange struct {
	name, kind          string
	durable, autoDelete bool
	internal            bool
	bindings            map[string][]*queue
}

func (x *exchange) bind(key string, q *queue) {
	if x.kind == "fanout" {
		key = ""
	}
	if !slices.Contains(x.bindings[key], q) {
		x.bindings[key] = append(x.bindings[key], q)
	}
}

func (x *exchange) unbind(key string, q *queue) {
	if x.kind == "fanout" {
		key = ""
	}
	x.bindings[key] = slices.DeleteFunc(x.bindings[key], func(o *queue) bool { return o == q })
	if len(x.bindings[key]) == 0 {
		delete(x.bindings, key)
	}
}

func (x *exchange) queues(key string) []*queue {
	if x.kind == "fanout" {
		key = ""
	}
	return x.bindings[key]
}

// equivalent compares a declaration with what stands; nil means that they agree.
func equivalent(what, name, vhost, argument string, received, current any) *exception {
	if received == current {
		return nil
	}
	return channelException(codePreconditionFailed,
		fmt.Sprintf("inequivalent arg '%s' for %s '%s' in vhost '%s': received '%v' but current is '%v'",
			argument, what, name, vhost, received, current))
}

// queueArguments are those that RabbitMQ compares when a queue is declared again.
var queueArguments = []string{
	"x-dead-letter-exchange", "x-dead-letter-routing-key", "x-expires", "x-max-length", "x-max-length-bytes",
	"x-max-priority", "x-message-ttl", "x-overflow", "x-queue-mode", "x-queue-type", "x-single-active-consumer",
}

func (q *queue) equivalent(vhost string, durable, exclusive, autoDelete bool, arguments table) *exception {
	if exclusive != q.exclusive {
		return locked(q.name, vhost)
	}
	for _, e := range []*exception{
		equivalent("queue", q.name, vhost, "durable", durable, q.durable),
		equivalent("queue", q.name, vhost, "auto_delete", autoDelete, q.autoDelete),
	} {
		if e != nil {
			return e
		}
	}
	for _, argument := range queueArguments {
		received, _ := scalar(arguments[argument])
		current, _ := scalar(q.arguments[argument])
		if e := equivalent("queue", q.name, vhost, argument, received, current); e != nil {
			return e
		}
	}
	return nil
}

func locked(name, vhost string) *exception {
	return channelException(codeResourceLocked,
		fmt.Sprintf("cannot obtain exclusive access to locked queue '%s' in vhost '%s'", name, vhost))
}

// scalar keeps what can be compared; no argument that matters is a table or an array.
func scalar(v any) (any, bool) {
	switch v.(type) {
	case int64, string, bool, float64:
		return v, true
	}
	return nil, false
}
