package rabbitmqtest

import (
	"encoding/binary"
	"fmt"
)

// channel is one AMQP channel. The connection's reader owns it, but for what the broker's lock guards.
type channel struct {
	conn      *conn
	id        uint16
	closing   bool   // channel.close was sent: only its answer counts; under the broker's lock
	lastQueue string // declared here, meant by an empty queue name

	content  content // the publish that is being read
	confirms confirms

	// Under the broker's lock:
	consumers       []*consumer
	deliveryTag     uint64
	unacked         []delivered // in order of tag
	prefetch        int         // for the consumers to come, 0 for no limit
	channelPrefetch int         // for all consumers together, 0 for no limit
}

// handler takes a method's arguments.
type handler func(*channel, *decoder) *exception

func (ch *channel) method(method uint32) handler {
	switch method {
	case channelFlow:
		return (*channel).flow
	case channelFlowOk:
		return func(_ *channel, d *decoder) *exception { d.octet(); return nil }
	case exchangeDeclare:
		return (*channel).declareExchange
	case exchangeDelete:
		return (*channel).deleteExchange
	case queueDeclare:
		return (*channel).declareQueue
	case queueBind:
		return (*channel).bindQueue
	case queueUnbind:
		return (*channel).unbindQueue
	case queuePurge:
		return (*channel).purgeQueue
	case queueDelete:
		return (*channel).deleteQueue
	case confirmSelect:
		return (*channel).selectConfirms
	case basicPublish:
		return (*channel).publish
	case basicQos:
		return (*channel).qos
	case basicConsume:
		return (*channel).consume
	case basicCancel:
		return (*channel).cancel
	case basicGet:
		return (*channel).get
	case basicAck:
		return (*channel).ack
	case basicReject:
		return (*channel).reject
	case basicNack:
		return (*channel).nack
	case basicRecover:
		return (*channel).recoverAll
	}
	return nil
}

// handle takes one frame of the channel.
func (ch *channel) handle(f frame) error {
	d := decoder{rest: f.payload}
	if ch.closing {
		if f.kind == frameMethod {
			ch.handleClosing(d.long())
		}
		return nil
	}
	method := uint32(basicPublish)
	var e *exception
	if f.kind == frameMethod {
		method = d.long()
		if method == channelClose {
			ch.closeByClient()
			return nil
		}
		e = ch.handleMethod(method, &d)
	} else {
		e = ch.handleContent(f)
	}
	if e == nil {
		return nil
	}
	if e.method == 0 {
		e.method = method
	}
	if e.hard {
		return e
	}
	ch.raise(e)
	return nil
}

func (ch *channel) handleMethod(method uint32, d *decoder) *exception {
	if ch.content.stage != noContent {
		return connectionException(codeUnexpectedFrame, "expected content header for class 60, got non content header frame instead")
	}
	if method == channelOpen {
		return connectionException(codeChannelError, "second 'channel.open' seen")
	}
	handle := ch.method(method)
	if handle == nil {
		return connectionException(codeNotImplemented, fmt.Sprintf("method %d of class %d", method&0xFFFF, method>>16))
	}
	e := handle(ch, d)
	if e == nil && d.bad {
		e = connectionException(codeSyntaxError, "malformed arguments")
	}
	return e
}

// handleClosing waits for the answer to channel.close; the client may have closed at the same moment.
func (ch *channel) handleClosing(method uint32) {
	switch method {
	case channelClose:
		ch.conn.out.method(ch.id, channelCloseOk, nil)
	case channelCloseOk:
		ch.remove()
	}
}

func (ch *channel) closeByClient() {
	ch.flushConfirms()
	ch.remove()
	ch.conn.out.method(ch.id, channelCloseOk, nil)
}

func (ch *channel) remove() {
	b := ch.conn.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	ch.release()
	delete(ch.conn.channels, ch.id)
}

// raise ends the channel with an error. What was stored before is confirmed first.
func (ch *channel) raise(e *exception) {
	ch.flushConfirms()
	ch.content = content{}
	b := ch.conn.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	ch.closing = true
	ch.release()
	ch.conn.out.method(ch.id, channelClose, func(b []byte) []byte { return appendException(b, e) })
}

// release ends the channel's consumers and puts back what they did not acknowledge. The caller holds the broker's lock.
func (ch *channel) release() {
	ch.requeue(ch.unacked)
	ch.unacked = nil
	for _, k := range ch.consumers {
		ch.conn.broker.vacate(k)
	}
	ch.consumers = nil
}

func (ch *channel) flow(d *decoder) *exception {
	if d.octet() == 0 {
		return connectionException(codeNotImplemented, "active=false")
	}
	ch.conn.out.method(ch.id, channelFlowOk, func(b []byte) []byte { return append(b, 1) })
	return nil
}

// queueNamed finds a queue that this connection may use. The caller holds the broker's lock.
func (ch *channel) queueNamed(name string) (*queue, *exception) {
	if name == "" {
		name = ch.lastQueue
	}
	vhost := ch.conn.broker.config.VHost
	q := ch.conn.broker.queues[name]
	if q == nil {
		return nil, channelException(codeNotFound, fmt.Sprintf("no queue '%s' in vhost '%s'", name, vhost))
	}
	if q.owner != nil && q.owner != ch.conn {
		return nil, locked(name, vhost)
	}
	return q, nil
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
