package rabbitmqtest

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Broker is a message broker in this process. All methods may be called at any time, from any goroutine.
type Broker struct {
	*virtualHost
	host string
	port int

	listening sync.Mutex // one Refuse at a time
	// The virtual host's lock guards the next four.
	listener net.Listener
	conns    map[*conn]struct{}
	refusing bool
	closed   bool

	running sync.WaitGroup
}

// Start opens a broker, which runs until Close.
func Start(config Config) (*Broker, error) {
	b := &Broker{
		virtualHost: newVirtualHost(config.withDefaults()), conns: map[*conn]struct{}{},
		host: "broker.invalid", port: 5672, // of an InMemory one, for its URL
	}
	if b.config.InMemory {
		return b, nil
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start broker: %w", err)
	}
	address, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		return nil, errors.Join(fmt.Errorf("start broker: %s is no TCP address", listener.Addr()), listener.Close())
	}
	b.host, b.port = address.IP.String(), address.Port
	b.mu.Lock()
	defer b.mu.Unlock()
	b.serve(listener)
	return b, nil
}

func (b *Broker) addr() string { return net.JoinHostPort(b.host, strconv.Itoa(b.port)) }

// Host is the host to dial.
func (b *Broker) Host() string { return b.host }

// Port is the port to dial.
func (b *Broker) Port() int { return b.port }

// URL is the amqp URL, with credentials.
func (b *Broker) URL() string {
	return amqpURL(b.config.User, b.config.Password, b.addr(), b.config.VHost)
}

// Dial connects without a socket, whatever the address; it fits amqp091.Config.Dial. The connection has no buffer of its
// own: each write waits for the other side to read.
func (b *Broker) Dial(network, addr string) (net.Conn, error) {
	client, server := net.Pipe()
	if !b.attach(server) {
		return nil, errors.Join(&net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}, client.Close())
	}
	return client, nil
}

// Close cuts all connections and waits until nothing of the broker runs. What the queues hold can still be read.
func (b *Broker) Close() error {
	b.mu.Lock()
	b.closed = true
	err := b.unlisten()
	b.cutAll()
	b.mu.Unlock()
	b.Unblock()
	b.running.Wait()
	return err
}

// serve accepts from listener. The caller holds the lock.
func (b *Broker) serve(listener net.Listener) {
	b.listener = listener
	b.running.Go(func() {
		for {
			nc, err := listener.Accept()
			switch {
			case err == nil:
				b.attach(nc)
			case errors.Is(err, net.ErrClosed):
				return
			default:
				time.Sleep(10 * time.Millisecond) // out of descriptors, most likely: they come back
			}
		}
	})
}

// unlisten closes the listener. The caller holds the lock.
func (b *Broker) unlisten() error {
	if b.listener == nil {
		return nil
	}
	err := b.listener.Close()
	b.listener = nil
	return err
}

// attach serves a client on nc, or closes it when no one is served now.
func (b *Broker) attach(nc net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || b.refusing {
		_ = nc.Close() // the other end sees it or is gone
		return false
	}
	c := newConn(b.virtualHost, nc)
	b.conns[c] = struct{}{}
	b.running.Go(func() {
		(&session{conn: c, channels: map[uint16]*channel{}}).serve()
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.conns, c)
	})
	return true
}

// Drop cuts all connections without a word. Nothing that they sent is stored after Drop has returned.
func (b *Broker) Drop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cutAll()
}

// cutAll is Drop. The caller holds the lock.
func (b *Broker) cutAll() {
	for c := range b.conns {
		c.dead = true
		c.cut()
	}
}

// CloseConnections ends all connections with connection.close 320 (CONNECTION_FORCED), as an operator or an orderly stop
// does. Nothing that they sent is stored after it has returned.
func (b *Broker) CloseConnections(reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.conns {
		c.dead = true
		c.raise(connectionException(codeConnectionForced, reason))
	}
}

// relistenLimit bounds how long Refuse tries to get its port back.
const relistenLimit = time.Minute

// Refuse stops or resumes accepting connections; those that stand are not touched (see Drop). While it refuses nothing
// listens, so that a client's dial is refused by the system. The error says that the port could not be had again.
func (b *Broker) Refuse(refuse bool) error {
	b.listening.Lock()
	defer b.listening.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || refuse == b.refusing {
		return nil
	}
	if refuse || b.config.InMemory {
		b.refusing = refuse
		return b.unlisten()
	}
	listener, err := b.relisten()
	if err != nil {
		return fmt.Errorf("listen again: %w", err)
	}
	if b.closed {
		return listener.Close()
	}
	b.refusing = false
	b.serve(listener)
	return nil
}

// relisten gets the broker's address back, which another program may hold for a moment as the far end of a connection.
// The caller holds the lock, which is let go meanwhile.
func (b *Broker) relisten() (net.Listener, error) {
	b.mu.Unlock()
	defer b.mu.Lock()
	for deadline := time.Now().Add(relistenLimit); ; time.Sleep(10 * time.Millisecond) {
		listener, err := net.Listen("tcp", b.addr())
		if err == nil || time.Now().After(deadline) {
			return listener, err
		}
	}
}
