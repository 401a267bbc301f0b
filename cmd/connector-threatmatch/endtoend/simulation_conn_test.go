package endtoend

import (
	"net"
	"sync"
)

// roomyConn is a connection whose writes do not block: the AMQP client writes under a mutex, and a mutex that waits for
// an unread connection would stop the fake clock.
type roomyConn struct {
	net.Conn
	mu      sync.Mutex
	pending []byte
	err     error
	written chan struct{} // holds a token while something is pending
	closed  chan struct{}
	once    sync.Once
}

func newRoomyConn(c net.Conn) *roomyConn {
	r := &roomyConn{Conn: c, written: make(chan struct{}, 1), closed: make(chan struct{})}
	go r.carry() // ends when the connection is closed, from whichever side
	return r
}

func (c *roomyConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	c.pending = append(c.pending, p...)
	select {
	case c.written <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (c *roomyConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func (c *roomyConn) carry() {
	for {
		select {
		case <-c.written:
		case <-c.closed:
			return
		}
		c.mu.Lock()
		p := c.pending
		c.pending = nil
		c.mu.Unlock()
		if _, err := c.Conn.Write(p); err != nil {
			c.mu.Lock()
			c.err = err
			c.mu.Unlock()
			return
		}
	}
}
