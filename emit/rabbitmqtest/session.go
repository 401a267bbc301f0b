package rabbitmqtest

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// session is what one client does with its connection, from the handshake on. Its reader owns it.
type session struct {
	*conn
	channels map[uint16]*channel
}

// serve runs the session until its connection has ended.
func (s *session) serve() {
	var writer sync.WaitGroup
	writer.Go(func() {
		defer s.cut()
		s.out.sendTo(s.nc, s.gone, s.heartbeat)
	})
	if err := s.read(); errors.Is(err, errFinished) {
		s.out.finish()
	} else {
		s.cut()
	}
	writer.Wait()
}

// read handles frames until the connection ends.
func (s *session) read() error {
	err := s.handshake()
	for err == nil {
		var f frame
		if f, err = s.next(); err == nil {
			err = s.dispatch(f)
			var e *exception
			if errors.As(err, &e) && !s.closing.Load() {
				s.raise(e)
				err = nil
			}
		}
	}
	var e *exception
	if errors.As(err, &e) {
		// The stream is out of step, so the client's answer cannot be told from rubbish. Reading on until it hangs up
		// spares it a reset that would destroy the reason on its way.
		s.raise(e)
		s.out.wake()
		_ = s.nc.SetReadDeadline(time.Now().Add(farewellLimit))
		_, _ = io.Copy(io.Discard, s.nc)
		return errFinished
	}
	return err
}

// dispatch handles a frame of an open connection.
func (s *session) dispatch(f frame) error {
	if f.kind == frameHeartbeat {
		return nil
	}
	if f.kind != frameMethod && f.kind != frameHeader && f.kind != frameBody {
		return connectionException(codeFrameError, fmt.Sprintf("type %d is unknown", f.kind))
	}
	if f.number == 0 || s.closing.Load() {
		return s.control(f)
	}
	return s.toChannel(f)
}

// control handles channel 0, and every frame that still comes after connection.close.
func (s *session) control(f frame) error {
	d := decoder{rest: f.payload}
	method := d.long()
	switch {
	case f.kind == frameMethod && f.number == 0 && method == connectionClose:
		s.settle()
		s.out.method(0, connectionCloseOk, nil)
		return errFinished
	case f.kind == frameMethod && f.number == 0 && method == connectionCloseOk:
		return errFinished
	case s.closing.Load():
		return nil
	case f.kind != frameMethod:
		return connectionException(codeUnexpectedFrame, "expected method frame, got content")
	}
	e := connectionException(codeCommandInvalid, "unexpected method on channel 0")
	e.method = method
	return e
}

// toChannel hands a frame to its channel, which a first one opens.
func (s *session) toChannel(f frame) error {
	ch := s.channels[f.number]
	if ch != nil {
		return s.handle(ch, f)
	}
	d := decoder{rest: f.payload}
	method := d.long()
	switch {
	case f.kind == frameMethod && method == channelOpen && f.number <= channelMax:
		s.channels[f.number] = &channel{conn: s.conn, id: f.number, confirms: confirms{out: &s.out, id: f.number}}
		s.out.method(f.number, channelOpenOk, func(b []byte) []byte { return appendLongstr(b, "") })
		return nil
	case f.kind == frameMethod && method == channelOpen:
		return connectionException(codeNotAllowed, fmt.Sprintf("number of channels opened (%d) has reached the negotiated channel_max (%d)", f.number, channelMax))
	case f.kind == frameMethod && method == channelCloseOk:
		return nil
	}
	e := connectionException(codeChannelError, "expected 'channel.open'")
	e.method = method
	return e
}

// handlers are the methods that a channel knows, besides its own opening and closing.
var handlers = map[uint32]func(*channel, *decoder) *exception{
	exchangeDeclare: (*channel).declareExchange,
	exchangeDelete:  (*channel).deleteExchange,
	queueDeclare:    (*channel).declareQueue,
	queueBind:       (*channel).bindQueue,
	queuePurge:      (*channel).purgeQueue,
	queueDelete:     (*channel).deleteQueue,
	confirmSelect:   (*channel).selectConfirms,
	basicPublish:    (*channel).publish,
	basicGet:        (*channel).get,
}

// handle takes one frame of a channel.
func (s *session) handle(ch *channel, f frame) error {
	d := decoder{rest: f.payload}
	if ch.closing {
		if f.kind == frameMethod {
			s.handleClosing(ch, d.long())
		}
		return nil
	}
	method := uint32(basicPublish)
	var e *exception
	if f.kind == frameMethod {
		method = d.long()
		if method == channelClose {
			s.closeByClient(ch)
			return nil
		}
		e = handleMethod(ch, method, &d)
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

func handleMethod(ch *channel, method uint32, d *decoder) *exception {
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
func (s *session) handleClosing(ch *channel, method uint32) {
	switch method {
	case channelClose:
		s.out.method(ch.id, channelCloseOk, nil)
	case channelCloseOk:
		delete(s.channels, ch.id)
	}
}

func (s *session) closeByClient(ch *channel) {
	ch.confirms.flush()
	delete(s.channels, ch.id)
	s.out.method(ch.id, channelCloseOk, nil)
}
