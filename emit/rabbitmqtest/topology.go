package rabbitmqtest

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// flags reads the octet that holds up to eight truths, the first in the lowest bit.
func (d *decoder) flags() (flag [8]bool) {
	b := d.octet()
	for i := range flag {
		flag[i] = b&(1<<i) != 0
	}
	return flag
}

func (ch *channel) declareExchange(d *decoder) *exception {
	d.short()
	name, kind, flag := string(d.shortstr()), string(d.shortstr()), d.flags()
	passive, durable, autoDelete, internal, noWait := flag[0], flag[1], flag[2], flag[3], flag[4]
	d.table()
	if d.bad {
		return nil
	}
	b := ch.conn.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	if name == "" {
		return channelException(codeAccessRefused, "operation not permitted on the default exchange")
	}
	x := b.exchanges[name]
	switch {
	case x == nil && passive:
		return ch.noExchange(name)
	case passive:
	case x == nil:
		if e := permitExchange(name, kind); e != nil {
			return e
		}
		b.exchanges[name] = &exchange{
			name: name, kind: kind, durable: durable, autoDelete: autoDelete, internal: internal,
			bindings: map[string][]*queue{},
		}
	default:
		for _, e := range []*exception{
			equivalent("exchange", name, b.config.VHost, "type", kind, x.kind),
			equivalent("exchange", name, b.config.VHost, "durable", durable, x.durable),
			equivalent("exchange", name, b.config.VHost, "auto_delete", autoDelete, x.autoDelete),
			equivalent("exchange", name, b.config.VHost, "internal", internal, x.internal),
		} {
			if e != nil {
				return e
			}
		}
	}
	if !noWait {
		ch.reply(exchangeDeclareOk)
	}
	return nil
}

func permitExchange(name, kind string) *exception {
	switch {
	case strings.HasPrefix(name, "amq."):
		return channelException(codeAccessRefused, fmt.Sprintf("exchange name '%s' contains reserved prefix 'amq.*'", name))
	case kind == "topic" || kind == "headers":
		return connectionException(codeNotImplemented, "exchange type '"+kind+"'")
	case kind != "direct" && kind != "fanout":
		return connectionException(codeCommandInvalid, "unknown exchange type '"+kind+"'")
	}
	return nil
}

func (ch *channel) noExchange(name string) *exception {
	return channelException(codeNotFound, fmt.Sprintf("no exchange '%s' in vhost '%s'", name, ch.conn.broker.config.VHost))
}

func (ch *channel) deleteExchange(d *decoder) *exception {
	d.short()
	name, flag := string(d.shortstr()), d.flags()
	ifUnused, noWait := flag[0], flag[1]
	b := ch.conn.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	if name == "" || strings.HasPrefix(name, "amq.") {
		return channelException(codeAccessRefused, fmt.Sprintf("exchange name '%s' contains reserved prefix 'amq.*'", name))
	}
	if x := b.exchanges[name]; x != nil && ifUnused && len(x.bindings) > 0 {
		return channelException(codePreconditionFailed, fmt.Sprintf("exchange '%s' in vhost '%s' in use", name, b.config.VHost))
	}
	delete(b.exchanges, name)
	if !noWait {
		ch.reply(exchangeDeleteOk)
	}
	return nil
}

func (ch *channel) declareQueue(d *decoder) *exception {
	d.short()
	name, flag := string(d.shortstr()), d.flags()
	passive, durable, exclusive, autoDelete, noWait := flag[0], flag[1], flag[2], flag[3], flag[4]
	arguments := d.table()
	if d.bad {
		return nil
	}
	b := ch.conn.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.queues[name] == nil && !passive {
		if strings.HasPrefix(name, "amq.") {
			return channelException(codeAccessRefused, fmt.Sprintf("queue name '%s' contains reserved prefix 'amq.*'", name))
		}
		if e := checkLimits(arguments); e != nil {
			return e
		}
		name = b.addQueue(name, durable, exclusive, autoDelete, arguments, ch.conn)
	}
	q, e := ch.queueNamed(name)
	if e != nil {
		return e
	}
	if !passive {
		if e := q.equivalent(b.config.VHost, durable, exclusive, autoDelete, arguments); e != nil {
			return e
		}
	}
	ch.lastQueue = q.name
	if noWait {
		return nil
	}
	ch.conn.out.method(ch.id, queueDeclareOk, func(f []byte) []byte {
		f = binary.BigEndian.AppendUint32(appendShortstr(f, q.name), uint32(q.len()))
		return binary.BigEndian.AppendUint32(f, uint32(len(q.consumers)))
	})
	return nil
}

// checkLimits refuses arguments that would make a limit of something else.
func checkLimits(arguments table) *exception {
	for _, argument := range []string{"x-max-length", "x-max-length-bytes"} {
		v, given := arguments[argument]
		if n, whole := v.(int64); given && (!whole || n < 0) {
			return channelException(codePreconditionFailed, fmt.Sprintf("invalid arg '%s': %v", argument, v))
		}
	}
	switch v := arguments["x-overflow"]; v {
	case nil, "drop-head", "reject-publish", "reject-publish-dlx":
		return nil
	default:
		return channelException(codePreconditionFailed, fmt.Sprintf("invalid arg 'x-overflow': %v", v))
	}
}

// addQueue makes a queue and returns its name. The caller holds the lock.
func (b *Broker) addQueue(name string, durable, exclusive, autoDelete bool, arguments table, owner *conn) string {
	if name == "" {
		b.generated++
		name = fmt.Sprintf("amq.gen-%d", b.generated)
	}
	if len(arguments) == 0 {
		arguments = nil
	}
	q := &queue{
		name: name, durable: durable, exclusive: exclusive, autoDelete: autoDelete, arguments: arguments,
		discard: b.config.Discard,
	}
	if exclusive {
		q.owner = owner
	}
	b.queues[name] = q
	return name
}

func (ch *channel) bindQueue(d *decoder) *exception {
	d.short()
	name, exchangeName, key, flag := string(d.shortstr()), string(d.shortstr()), string(d.shortstr()), d.flags()
	d.table()
	if d.bad {
		return nil
	}
	b := ch.conn.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	q, e := ch.queueNamed(name)
	if e != nil {
		return e
	}
	if exchangeName == "" {
		return channelException(codeAccessRefused, "operation not permitted on the default exchange")
	}
	x := b.exchanges[exchangeName]
	if x == nil {
		return ch.noExchange(exchangeName)
	}
	if name == "" && key == "" {
		key = q.name
	}
	x.bind(key, q)
	if !flag[0] {
		ch.reply(queueBindOk)
	}
	return nil
}

func (ch *channel) unbindQueue(d *decoder) *exception {
	d.short()
	name, exchangeName, key := string(d.shortstr()), d.shortstr(), string(d.shortstr())
	d.table()
	if d.bad {
		return nil
	}
	b := ch.conn.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	if name == "" {
		name = ch.lastQueue
	}
	if q, x := b.queues[name], b.exchanges[string(exchangeName)]; q != nil && x != nil {
		x.unbind(key, q)
	}
	ch.reply(queueUnbindOk)
	return nil
}

func (ch *channel) purgeQueue(d *decoder) *exception {
	d.short()
	name, flag := string(d.shortstr()), d.flags()
	b := ch.conn.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	q, e := ch.queueNamed(name)
	if e != nil {
		return e
	}
	n := q.purge()
	if !flag[0] {
		ch.reply(queuePurgeOk, n)
	}
	return nil
}

// deleteQueue takes a queue that does not exist for deleted, as RabbitMQ does.
func (ch *channel) deleteQueue(d *decoder) *exception {
	d.short()
	name, flag := string(d.shortstr()), d.flags()
	ifUnused, ifEmpty, noWait := flag[0], flag[1], flag[2]
	b := ch.conn.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	q, e := ch.queueNamed(name)
	switch {
	case q == nil && e.code != codeNotFound:
		return e
	case q == nil:
	case ifUnused && len(q.consumers) > 0:
		return channelException(codePreconditionFailed, fmt.Sprintf("queue '%s' in vhost '%s' in use", q.name, b.config.VHost))
	case ifEmpty && q.len() > 0:
		return channelException(codePreconditionFailed, fmt.Sprintf("queue '%s' in vhost '%s' not empty", q.name, b.config.VHost))
	default:
		n = q.len()
		b.deleteQueue(q)
	}
	if !noWait {
		ch.reply(queueDeleteOk, n)
	}
	return nil
}
