package rabbitmqtest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// conn is one client's connection: its serve goroutine reads, a second one writes.
type conn struct {
	broker *Broker
	nc     net.Conn
	in     *bufio.Reader
	used   int // octets of in that the last frame took
	out    output

	gone    chan struct{} // closed when the connection is cut
	cutOnce sync.Once
	closing atomic.Bool // connection.close was sent: only its answer counts

	maxPayload    int
	heartbeat     chan time.Duration // tells the writer what was agreed
	silence       time.Duration      // that a client may keep, 0 for ever
	deadlineSince time.Time
	capabilities  table // of the client

	channels  map[uint16]*channel // the reader's
	unsettled []*channel          // with confirms to send; the reader's
	dead      bool                // nothing is stored any more; under the broker's lock
}

func newConn(b *Broker, nc net.Conn) *conn {
	return &conn{
		broker: b, nc: nc, in: bufio.NewReaderSize(nc, frameMax), out: newOutput(),
		gone: make(chan struct{}), heartbeat: make(chan time.Duration, 1),
		maxPayload: frameMax - frameOverhead, channels: map[uint16]*channel{},
	}
}

// errFinished ends a connection that both sides have closed.
var errFinished = errors.New("connection closed")

// cut ends the connection at once: what was not written is lost.
func (c *conn) cut() {
	c.cutOnce.Do(func() {
		close(c.gone)
		_ = c.nc.Close() // it is gone either way
	})
}

func (c *conn) serve() {
	var writer sync.WaitGroup
	writer.Go(c.write)
	if err := c.read(); errors.Is(err, errFinished) {
		c.out.finish()
	} else {
		c.cut()
	}
	writer.Wait()
	c.broker.mu.Lock()
	defer c.broker.mu.Unlock()
	delete(c.broker.conns, c)
}

// read handles frames until the connection ends.
func (c *conn) read() error {
	err := c.handshake()
	for err == nil {
		var f frame
		if f, err = c.next(); err == nil {
			err = c.dispatch(f)
			var e *exception
			if errors.As(err, &e) && !c.closing.Load() {
				c.raise(e)
				err = nil
			}
		}
	}
	var e *exception
	if errors.As(err, &e) {
		// The stream is out of step, so the client's answer cannot be told from rubbish. Reading on until it hangs up
		// spares it a reset that would destroy the reason on its way.
		c.raise(e)
		c.out.wake()
		_ = c.nc.SetReadDeadline(time.Now().Add(farewellLimit))
		_, _ = io.Copy(io.Discard, c.nc)
		return errFinished
	}
	return err
}

// raise tells the client that the connection is over. Callers other than the reader hold the broker's lock.
func (c *conn) raise(e *exception) {
	if c.closing.Swap(true) {
		return
	}
	c.out.method(0, connectionClose, func(b []byte) []byte { return appendException(b, e) })
	c.out.wake()
	_ = c.nc.SetReadDeadline(time.Now().Add(farewellLimit)) // fails on a closed connection only
}

type frame struct {
	kind    byte
	channel uint16
	payload []byte // valid until the next frame is read
}

// next reads one frame.
func (c *conn) next() (frame, error) {
	if _, err := c.in.Discard(c.used); err != nil {
		return frame{}, err
	}
	c.used = 0
	head, err := c.fill(7)
	if err != nil {
		return frame{}, err
	}
	f := frame{kind: head[0], channel: binary.BigEndian.Uint16(head[1:])}
	size := binary.BigEndian.Uint32(head[3:])
	if uint64(size) > uint64(c.maxPayload) {
		return frame{}, connectionException(codeFrameError, fmt.Sprintf("type %d, {frame_too_large,%d,%d}", f.kind, size, c.maxPayload))
	}
	c.used = int(size) + frameOverhead
	whole, err := c.fill(c.used)
	if err != nil {
		return frame{}, err
	}
	if whole[c.used-1] != frameEnd {
		return frame{}, connectionException(codeFrameError, fmt.Sprintf("type %d, {invalid_frame_end_marker,%d}", f.kind, whole[c.used-1]))
	}
	f.payload = whole[7 : c.used-1]
	return f, nil
}

// fill returns the next n octets. Before it waits for some of them, the client gets all that is due to it.
func (c *conn) fill(n int) ([]byte, error) {
	if c.in.Buffered() < n {
		c.settle()
		if err := c.room(); err != nil {
			return nil, err
		}
		c.expectLife()
	}
	return c.in.Peek(n)
}

// settle sends what was held back to be sent together.
func (c *conn) settle() {
	for _, ch := range c.unsettled {
		ch.flushConfirms()
	}
	c.unsettled = c.unsettled[:0]
	if c.out.len() > 0 {
		c.out.wake()
	}
}

// room waits while the client does not read.
func (c *conn) room() error {
	for c.out.len() > outputHigh {
		c.out.wake()
		select {
		case <-c.out.room:
		case <-c.gone:
			return net.ErrClosed
		}
	}
	return nil
}

// expectLife moves the deadline by which the client must have sent something. Seldom: it costs more than a frame.
func (c *conn) expectLife() {
	if c.silence == 0 || c.closing.Load() {
		return
	}
	if now := time.Now(); now.Sub(c.deadlineSince) > c.silence/4 {
		c.deadlineSince = now
		_ = c.nc.SetReadDeadline(now.Add(c.silence)) // fails on a closed connection only
	}
}

// dispatch handles a frame of an open connection.
func (c *conn) dispatch(f frame) error {
	if f.kind == frameHeartbeat {
		return nil
	}
	if f.kind != frameMethod && f.kind != frameHeader && f.kind != frameBody {
		return connectionException(codeFrameError, fmt.Sprintf("type %d is unknown", f.kind))
	}
	if f.channel == 0 || c.closing.Load() {
		return c.control(f)
	}
	return c.toChannel(f)
}

// control handles channel 0, and every frame that still comes after connection.close.
func (c *conn) control(f frame) error {
	d := decoder{rest: f.payload}
	method := d.long()
	switch {
	case f.kind == frameMethod && f.channel == 0 && method == connectionClose:
		c.settle()
		c.out.method(0, connectionCloseOk, nil)
		return errFinished
	case f.kind == frameMethod && f.channel == 0 && method == connectionCloseOk:
		return errFinished
	case c.closing.Load():
		return nil
	case f.kind != frameMethod:
		return connectionException(codeUnexpectedFrame, "expected method frame, got content")
	}
	e := connectionException(codeCommandInvalid, "unexpected method on channel 0")
	e.method = method
	return e
}

// toChannel hands a frame to its channel, which a first one opens.
func (c *conn) toChannel(f frame) error {
	ch := c.channels[f.channel]
	if ch != nil {
		return ch.handle(f)
	}
	d := decoder{rest: f.payload}
	method := d.long()
	switch {
	case f.kind == frameMethod && method == channelOpen && f.channel <= channelMax:
		c.channels[f.channel] = &channel{conn: c, id: f.channel}
		c.out.method(f.channel, channelOpenOk, func(b []byte) []byte { return appendLongstr(b, "") })
		return nil
	case f.kind == frameMethod && method == channelOpen:
		return connectionException(codeNotAllowed, fmt.Sprintf("number of channels opened (%d) has reached the negotiated channel_max (%d)", f.channel, channelMax))
	case f.kind == frameMethod && method == channelCloseOk:
		return nil
	}
	e := connectionException(codeChannelError, "expected 'channel.open'")
	e.method = method
	return e
}
