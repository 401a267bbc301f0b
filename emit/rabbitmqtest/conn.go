package rabbitmqtest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// conn is one client's connection: one goroutine reads, a second one writes.
type conn struct {
	vhost *virtualHost
	nc    net.Conn
	in    *bufio.Reader
	used  int // octets of in that the last frame took
	out   output

	gone    chan struct{} // closed when the connection is cut
	cutOnce sync.Once
	closing atomic.Bool // connection.close was sent: only its answer counts

	maxPayload    int
	heartbeat     chan time.Duration // tells the writer what was agreed
	silence       time.Duration      // that a client may keep, 0 for ever
	deadlineSince time.Time
	capabilities  table // of the client

	unsettled []*confirms // with some to send; the reader's
	dead      bool        // nothing is stored any more; under the virtual host's lock
}

func newConn(v *virtualHost, nc net.Conn) *conn {
	return &conn{
		vhost: v, nc: nc, in: bufio.NewReaderSize(nc, frameMax), out: newOutput(),
		gone: make(chan struct{}), heartbeat: make(chan time.Duration, 1),
		maxPayload: frameMax - frameOverhead,
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

// raise tells the client that the connection is over. Callers other than the reader hold the virtual host's lock.
func (c *conn) raise(e *exception) {
	if c.closing.Swap(true) {
		return
	}
	c.out.method(0, connectionClose, func(b []byte) []byte { return appendException(b, e) })
	c.out.wake()
	_ = c.nc.SetReadDeadline(time.Now().Add(farewellLimit)) // fails on a closed connection only
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
	f := frame{kind: head[0], number: binary.BigEndian.Uint16(head[1:])}
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
	for _, held := range c.unsettled {
		held.flush()
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
