package rabbitmqtest

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// What a platform does before and after a connector publishes. Of the many kinds of exchange and queue there is the one
// that it declares: durable, direct, without arguments. The rest is answered with 540 (NOT_IMPLEMENTED).

// Flags of exchange.declare, queue.declare and exchange.delete, as read off the wire.
const (
	flagPassive  = 1 << 0
	flagDurable  = 1 << 1
	flagIfUnused = 1 << 0
)

func (ch *channel) declareExchange(d *decoder) *exception {
	d.short()
	name, kind, flags, arguments := string(d.shortstr()), string(d.shortstr()), d.octet(), d.table()
	switch {
	case d.bad:
		return nil
	case name == "":
		return channelException(codeAccessRefused, "operation not permitted on the default exchange")
	case kind != "direct" || flags&^flagPassive != flagDurable || len(arguments) > 0:
		return notImplemented(fmt.Sprintf("exchange '%s' that is not durable and direct alone", name))
	}
	v := ch.conn.vhost
	v.mu.Lock()
	defer v.mu.Unlock()
	if flags&flagPassive == 0 {
		v.changes++
		if v.exchanges[name] == nil {
			v.exchanges[name] = exchange{}
		}
	}
	if v.exchanges[name] == nil {
		return v.noExchange(name)
	}
	ch.reply(exchangeDeclareOk)
	return nil
}

// deleteExchange takes an exchange that does not exist for deleted, as RabbitMQ does.
func (ch *channel) deleteExchange(d *decoder) *exception {
	d.short()
	name, flags := string(d.shortstr()), d.octet()
	switch {
	case d.bad:
		return nil
	case name == "":
		return channelException(codeAccessRefused, "operation not permitted on the default exchange")
	case flags != flagIfUnused:
		return notImplemented("delete of an exchange in use, or without an answer")
	}
	v := ch.conn.vhost
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.exchanges[name].bound() {
		return channelException(codePreconditionFailed, fmt.Sprintf("exchange '%s' in vhost '%s' in use", name, v.config.VHost))
	}
	v.changes++
	delete(v.exchanges, name)
	ch.reply(exchangeDeleteOk)
	return nil
}

func (ch *channel) declareQueue(d *decoder) *exception {
	d.short()
	name, flags, arguments := string(d.shortstr()), d.octet(), d.table()
	if d.bad {
		return nil
	}
	v := ch.conn.vhost
	v.mu.Lock()
	defer v.mu.Unlock()
	passive := flags&flagPassive != 0
	if name == "" || flags&^flagPassive != flagDurable || len(arguments) > 0 {
		return notImplemented(fmt.Sprintf("queue '%s' that is not durable alone", name))
	}
	if !passive {
		v.changes++
		if v.queues[name] == nil {
			v.queues[name] = &queue{name: name, discard: v.config.Discard}
		}
	}
	q, e := v.queueNamed(name)
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
	v := ch.conn.vhost
	v.mu.Lock()
	defer v.mu.Unlock()
	q, e := v.queueNamed(name)
	x := v.exchanges[exchangeName]
	switch {
	case e != nil:
		return e
	case exchangeName == "":
		return channelException(codeAccessRefused, "operation not permitted on the default exchange")
	case x == nil:
		return v.noExchange(exchangeName)
	case flags != 0 || len(arguments) > 0:
		return notImplemented("binding with arguments or without an answer")
	}
	v.changes++
	if !slices.Contains(x[key], q) {
		x[key] = append(x[key], q)
	}
	ch.reply(queueBindOk)
	return nil
}

func (ch *channel) purgeQueue(d *decoder) *exception {
	d.short()
	name, flags := string(d.shortstr()), d.octet()
	v := ch.conn.vhost
	v.mu.Lock()
	defer v.mu.Unlock()
	q, e := v.queueNamed(name)
	switch {
	case e != nil:
		return e
	case flags != 0:
		return notImplemented("purge without an answer")
	}
	v.changes++
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
	v := ch.conn.vhost
	v.mu.Lock()
	defer v.mu.Unlock()
	v.changes++
	held, _ := v.remove(name)
	ch.reply(queueDeleteOk, held)
	return nil
}

// get hands the oldest message out, for good: deliveries that are acknowledged later are a consumer's affair.
func (ch *channel) get(d *decoder) *exception {
	d.short()
	name, noAck := string(d.shortstr()), d.octet() == 1
	v := ch.conn.vhost
	v.mu.Lock()
	defer v.mu.Unlock()
	q, e := v.queueNamed(name)
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
	ch.conn.out.deliver(ch.id, &s, ch.conn.maxPayload)
	return nil
}
