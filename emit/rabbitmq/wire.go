package rabbitmq

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// batchBytes is how much is collected for one write: some dozens of messages, and no more than a socket takes at once.
const batchBytes = 64 << 10

// silence is how long the broker may send nothing: three of its heartbeats, which come at half the agreed interval.
const silence = heartbeat / 2 * 3

// wire is the socket as the library sees it.
//
// It collects writes between hold and release, because the library writes at least once for each message, and that costs
// more than all else it does. And it keeps the deadline for reading: the library moves it from the goroutine that also
// writes heartbeats, which gets stuck when a broker short of memory reads nothing, and a connection that is well would
// then be taken for dead.
type wire struct {
	net.Conn

	mu   sync.Mutex
	held bool
	buf  []byte

	heard time.Time // when the deadline was last moved; the reader's alone

	refusal atomic.Pointer[error] // that the client certificate, or its absence, is or may be what the broker minds; nil for nothing
}

// explain puts what the wire knows of a failed login in the place of the library's error, which tells of it in words only.
func (c *wire) explain(err error) error {
	if refusal := c.refusal.Load(); refusal != nil {
		return *refusal
	}
	return err
}

// Read notes that the broker is alive.
func (c *wire) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.note(err)
	if now := time.Now(); err == nil && now.Sub(c.heard) > time.Second {
		c.heard = now
		err = c.Conn.SetReadDeadline(now.Add(silence))
	}
	return n, err
}

// note remembers what the broker has against the client certificate, or may have.
func (c *wire) note(err error) {
	var refusal *remote.ClientCertificateError
	var unheard *remote.UnheardError
	if errors.As(err, &refusal) || errors.As(err, &unheard) {
		c.refusal.CompareAndSwap(nil, &err)
	}
}

// Write passes p on at once, or collects it while writes are held.
func (c *wire) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.held {
		n, err := c.Conn.Write(p)
		c.note(err)
		return n, err
	}
	if len(c.buf)+len(p) > batchBytes {
		if err := c.flush(); err != nil {
			return 0, err
		}
		if len(p) >= batchBytes {
			return c.Conn.Write(p)
		}
	}
	c.buf = append(c.buf, p...)
	return len(p), nil
}

// hold starts collecting.
func (c *wire) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = true
}

// release writes what was collected and lets later writes pass. Whoever holds must release before it waits for anything,
// because heartbeats are collected too.
func (c *wire) release() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = false
	return c.flush()
}

func (c *wire) flush() error {
	if len(c.buf) == 0 {
		return nil
	}
	_, err := c.Conn.Write(c.buf)
	c.buf = c.buf[:0]
	return err
}
