package rabbitmqtest

import "fmt"

// channel is one AMQP channel. The connection's reader owns it.
type channel struct {
	conn        *conn
	id          uint16
	closing     bool    // channel.close was sent: only its answer counts
	content     content // the publish that is being read
	confirms    confirms
	deliveryTag uint64
}

// handler takes a method's arguments.
type handler func(*channel, *decoder) *exception

// handlers are the methods that a channel knows, besides its own opening and closing.
var handlers = map[uint32]handler{
	exchangeDeclare: (*channel).declareExchange,
	queueDeclare:    (*channel).declareQueue,
	queueBind:       (*channel).bindQueue,
	queuePurge:      (*channel).purgeQueue,
	queueDelete:     (*channel).deleteQueue,
	confirmSelect:   (*channel).selectConfirms,
	basicPublish:    (*channel).publish,
	basicGet:        (*channel).get,
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
	handle := handlers[method]
	if handle == nil {
		return notImplemented(fmt.Sprintf("method %d of class %d", method&0xFFFF, method>>16))
	}
	e := handle(ch, d)
	if d.bad {
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
		delete(ch.conn.channels, ch.id)
	}
}

func (ch *channel) closeByClient() {
	ch.flushConfirms()
	delete(ch.conn.channels, ch.id)
	ch.conn.out.method(ch.id, channelCloseOk, nil)
}

// raise ends the channel with an error. What was stored before is confirmed first.
func (ch *channel) raise(e *exception) {
	ch.flushConfirms()
	ch.content = content{}
	ch.closing = true
	ch.conn.out.method(ch.id, channelClose, func(b []byte) []byte { return appendException(b, e) })
}
