package threatmatchtest

import (
	"context"
	"net"
	"sync"
	"syscall"
)

// Pipe is a listener whose connections are in memory, for tests on a fake clock, where a real socket would stop the clock:
// serve a [Server] on it and let an [net/http.Transport] dial with its DialContext.
type Pipe struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once

	mu     sync.Mutex
	refuse bool
}

// NewPipe returns a listener that accepts connections.
func NewPipe() *Pipe { return &Pipe{conns: make(chan net.Conn), closed: make(chan struct{})} }

// Refuse makes new connections fail as those to a closed port do, or succeed again.
func (p *Pipe) Refuse(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = yes
}

// DialContext connects to the listener, whatever the network and the address.
func (p *Pipe) DialContext(ctx context.Context, network, _ string) (net.Conn, error) {
	p.mu.Lock()
	refuse := p.refuse
	p.mu.Unlock()
	refused := &net.OpError{Op: "dial", Net: network, Addr: p.Addr(), Err: syscall.ECONNREFUSED}
	if refuse {
		return nil, refused
	}
	near, far := net.Pipe()
	var err error
	select {
	case p.conns <- far:
		return near, nil
	case <-p.closed:
		err = refused
	case <-ctx.Done():
		err = ctx.Err()
	}
	_, _ = near.Close(), far.Close() // neither was used
	return nil, err
}

// Accept implements [net.Listener].
func (p *Pipe) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (p *Pipe) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr implements [net.Listener].
func (p *Pipe) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }
