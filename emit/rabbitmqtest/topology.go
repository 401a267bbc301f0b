package rabbitmqtest

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// What a platform does before and after a connector publishes. Of the many kinds of exchange and queue there is the one
// that it declares: durable, direct, without arguments. The rest is answered with 540 (NOT_IMPLEMENTED).

// Flags of exchange.declare and queue.declare, as read off the wire.
const (
	flagPassive = 1 << 0
	flagDurable = 1 << 1
)

func notImplemented(what string) *exception { return connectionException(codeNotImplemented, what) }

func (ch *channel) noExchange(name string) *exception {
	return channelException(codeNotFound, fmt.Sprintf("no exchange '%s' in vhost '%s'", name, ch.conn.broker.config.VHost))
}

// queueNamed finds a queue. The caller holds the broker's lock.
func (ch *channel) queueNamed(name string) (*queue, *exception) {
	b := ch.conn.broker
	if q := b.queues[name]; q != nil {
		return q, nil
	}
	if name == "" {
		return nil, notImplemented("queue declared last")
	}
	return nil, channelException(codeNotFound, fmt.Sprintf("no queue '%s' in vhost '%s'", name, b.config.VHost))
}

func (ch *channel) declareExchange(d *decoder) *exception {
	d.short()
	name, kind, flags, arguments := string(d.shortstr()), string(d.shortstr()), d.octet(), d.table()
	switch {
	case d.bad:
		return nil
	case name == "":
		return channelException(codeAccessRefused, "operation not permitted on the default exchange")
	case kind != "direct" || flags != flagDurable || len(arguments) > 0:
		return notImplemented(fmt.Sprintf("exchange '%s' that is not durable and direct alone", name))
	}
	b := ch.conn.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.exchanges[name] == nil {
		b.exchanges[name] = exchange{}
	}
	ch.reply(exchangeDeclareOk)
	return nil
}

func (ch *channel) declareQueue(d *decoder) *exception {
	d.short()
	name, flags, arguments := string(d.shortstr()), d.octet(), d.table()
	if d.bad {
		return nil
	}
	b := ch.conn.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	passive := flags&flagPassive != 0
	if name == "" || flags&^flagPassive != flagDurable || len(arguments) > 0 {
		return notImplemented(fmt.Sprintf("queue '%s' that is not durable alone", name))
	}
	if !passive && b.queues[name] == nil {
		b.queues[name] = &queue{name: name, discard: b.config.Discard}
	}
	q, e := ch.queueNamed(name)
	if e != nil {
		return e
	}
	ch.conn.out.method(ch.id, queueDeclareOk, func(f []byte) []byte {
		f = binary.BigEndian.AppendUint32(appendShortstr(f, q.name), uint32(q.count))
		return binary.BigEndian.AppendUint32(f, 0) // consumers
	})
	return nil
}

func (ch *channel) bindQueue(d *decoder) *exception {
	d.short()
	name, exchangeName, key, flags, arguments := string(d.shortstr()), string(d.shortstr()), string(d.shortstr()), d.octet(), d.table()
	if d.bad {
		return nil
	}
	b := ch.conn.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	q, e := ch.queueNamed(name)
	x := b.exchanges[exchangeName]
	switch {
	case e != nil:
		return e
	case exchangeName == "":
		return channelException(codeAccessRefused, "operation not permitted on the default exchange")
	case x == nil:
		return ch.noExchange(exchangeName)
	case flags != 0 || len(arguments) > 0:
		return notImplemented("binding with arguments or without an answer")
	}
	if !slices.Contains(x[key], q) {
		x[key] = append(x[key], q)
	}
	ch.reply(queueBindOk)
	return nil
}

func (ch *channel) purgeQueue(d *decoder) *exception {
	d.short()
	name, flags := string(d.shortstr()), d.octet()
	b := ch.conn.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	q, e := ch.queueNamed(name)
	switch {
	case e != nil:
		return e
	case flags != 0:
		return notImplemented("purge without an answer")
	}
	ch.reply(queuePurgeOk, q.purge())
	return nil
}

// deleteQueue takes a queue that does not exist for deleted, as RabbitMQ does.
func (ch *channel) deleteQueue(d *decoder) *exception {
	d.short()
	name, flags := string(d.shortstr()), d.octet()
	if name == "" || flags != 0 {
		return notImplemented("delete with a condition or without an answer")
	}
	b := ch.conn.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	held, _ := b.deleteQueue(name)
	ch.reply(queueDeleteOk, held)
	return nil
}

// deleteQueue removes a queue with its bindings, and returns how many messages went with it. The caller holds the lock.
func (b *Broker) deleteQueue(name string) (held int, existed bool) {
	q := b.queues[name]
	if q == nil {
		return 0, false
	}
	delete(b.queues, name)
	for _, x := range b.exchanges {
		for key, bound := range x {
			x[key] = slices.DeleteFunc(bound, func(o *queue) bool { return o == q })
		}
	}
	return q.purge(), true
}

// get hands the oldest message out, for good: deliveries that are acknowledged later are a consumer's affair.
func (ch *channel) get(d *decoder) *exception {
	d.short()
	name, noAck := string(d.shortstr()), d.octet() == 1
	b := ch.conn.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	q, e := ch.queueNamed(name)
	switch {
	case e != nil:
		return e
	case !noAck:
		return notImplemented("basic.get with an acknowledgement")
	}
	s, ok := q.pop()
	if !ok {
		ch.conn.out.method(ch.id, basicGetEmpty, func(f []byte) []byte { return appendShortstr(f, "") })
		return nil
	}
	ch.deliveryTag++
	ch.conn.out.method(ch.id, basicGetOk, func(f []byte) []byte {
		f = appendBool(binary.BigEndian.AppendUint64(f, ch.deliveryTag), false) // not redelivered
		f = appendShortstr(appendShortstr(f, s.exchange), s.key)
		return binary.BigEndian.AppendUint32(f, uint32(q.count))
	})
	ch.conn.out.content(ch.id, &s, ch.conn.maxPayload)
	return nil
}

// reply adds a method of this channel whose arguments are counts.
func (ch *channel) reply(method uint32, counts ...int) {
	ch.conn.out.method(ch.id, method, func(b []byte) []byte {
		for _, n := range counts {
			b = binary.BigEndian.AppendUint32(b, uint32(n))
		}
		return b
	})
}
