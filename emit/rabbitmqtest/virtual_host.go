package rabbitmqtest

import (
	"fmt"
	"slices"
	"sync"
)

// virtualHost holds the exchanges and queues that a broker's clients share, and routes what they publish.
type virtualHost struct {
	config Config
	faults

	mu        sync.Mutex // guards what follows, all queues and exchanges, and the broker's connections
	exchanges map[string]exchange
	queues    map[string]*queue
	published int
	changes   int // of what exchanges, queues and bindings there are and what they hold, by clients
}

func newVirtualHost(config Config) *virtualHost {
	return &virtualHost{
		config: config, faults: faults{planned: map[int]Fault{}, limits: map[string]int{}},
		queues: map[string]*queue{}, exchanges: map[string]exchange{"amq.direct": {}},
	}
}

// outcome is what became of a publish.
type outcome int

const (
	routed outcome = iota
	unroutable
	rejected
	ignored // came after the connection's end was decided
	lost    // and the connection with it
)

func (v *virtualHost) noExchange(name string) *exception {
	return channelException(codeNotFound, fmt.Sprintf("no exchange '%s' in vhost '%s'", name, v.config.VHost))
}

// queueNamed finds a queue. The caller holds the lock.
func (v *virtualHost) queueNamed(name string) (*queue, *exception) {
	if q := v.queues[name]; q != nil {
		return q, nil
	}
	if name == "" {
		return nil, notImplemented("queue declared last")
	}
	return nil, channelException(codeNotFound, fmt.Sprintf("no queue '%s' in vhost '%s'", name, v.config.VHost))
}

// route stores the message in all queues that it is bound for. The caller holds the lock.
func (v *virtualHost) route(s *stored) (outcome, *exception) {
	if s.exchange == "" { // the default exchange, to which every queue is bound by its name
		if q := v.queues[s.key]; q != nil {
			return v.store(s, q), nil
		}
		return unroutable, nil
	}
	x := v.exchanges[s.exchange]
	if x == nil {
		return 0, v.noExchange(s.exchange)
	}
	return v.store(s, x[s.key]...), nil
}

// store puts the message into each of the queues that is not full. The caller holds the lock.
func (v *virtualHost) store(s *stored, queues ...*queue) outcome {
	if len(queues) == 0 {
		return unroutable
	}
	result := routed
	for _, q := range queues {
		if v.full(q.name, q.count) {
			result = rejected
		} else {
			q.push(s)
		}
	}
	return result
}

// remove deletes a queue with its bindings, and returns how many messages went with it. The caller holds the lock.
func (v *virtualHost) remove(name string) (held int, existed bool) {
	q := v.queues[name]
	if q == nil {
		return 0, false
	}
	delete(v.queues, name)
	for _, x := range v.exchanges {
		for key, bound := range x {
			x[key] = slices.DeleteFunc(bound, func(o *queue) bool { return o == q })
		}
	}
	return q.purge(), true
}

// Messages are those that wait in the queue, oldest first.
func (v *virtualHost) Messages(queue string) []Message {
	v.mu.Lock()
	defer v.mu.Unlock()
	var messages []Message
	if q := v.queues[queue]; q != nil {
		for i := range q.ready {
			messages = append(messages, q.ready[i].message())
		}
	}
	return messages
}

// Take removes up to n messages from the head of the queue.
func (v *virtualHost) Take(queue string, n int) (taken []Message) {
	v.mu.Lock()
	defer v.mu.Unlock()
	q := v.queues[queue]
	if q == nil {
		return nil
	}
	for len(taken) < n {
		s, ok := q.pop()
		if !ok {
			break
		}
		taken = append(taken, s.message())
	}
	return taken
}

// Depth counts the messages of the queue and the bytes of their bodies. A queue that does not exist is empty.
func (v *virtualHost) Depth(queue string) (messages int, bytes int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if q := v.queues[queue]; q != nil {
		return q.count, q.bytes
	}
	return 0, 0
}

// Published counts the publishes of the broker's life so far, whatever became of them.
func (v *virtualHost) Published() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.published
}

// Changes counts what clients have asked the broker to declare, bind, purge and delete so far. A passive declaration is a question.
func (v *virtualHost) Changes() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.changes
}

// DeleteQueue removes the queue with its bindings and messages, and reports whether it existed.
func (v *virtualHost) DeleteQueue(queue string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, existed := v.remove(queue)
	return existed
}
