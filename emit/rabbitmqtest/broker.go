package rabbitmqtest

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Config describes a Broker. The zero value is a broker like a fresh RabbitMQ on a free port of the loopback interface.
type Config struct {
	User, Password string // default guest and guest
	VHost          string // the only one; default /

	// InMemory opens no socket: clients come by [Broker.Dial]. Nothing then waits on the network, so that a test under
	// testing/synctest can hold client and broker in its bubble.
	InMemory bool

	// OnMessage is called for each message that reached a queue, after it did and before its publisher hears of it, from
	// the goroutine that reads the publisher's connection: a slow callback makes a slow broker. It may call all of the
	// broker's methods except Close. With Discard the body is valid during the call only.
	OnMessage func(Message)

	// Discard counts messages and does not keep them: to readers of a queue it is empty, whatever Depth says.
	Discard bool
}

// Broker is a message broker in this process. All methods may be called at any time, from any goroutine.
type Broker struct {
	config Config
	host   string
	port   int

	listening sync.Mutex // one Refuse at a time
	mu        sync.Mutex // guards what follows, and all queues and exchanges
	listener  net.Listener
	conns     map[*conn]struct{}
	exchanges map[string]exchange
	queues    map[string]*queue
	limits    map[string]int
	faults    map[int]Fault
	published int
	refusing  bool
	noLogin   bool
	closed    bool

	blocked atomic.Pointer[gate]
	running sync.WaitGroup
}

// Start opens a broker, which runs until Close.
func Start(config Config) (*Broker, error) {
	b := newBroker(config)
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

func newBroker(config Config) *Broker {
	if config.User == "" {
		config.User = "guest"
	}
	if config.Password == "" {
		config.Password = "guest"
	}
	if config.VHost == "" {
		config.VHost = "/"
	}
	return &Broker{
		config: config, host: "broker.invalid", port: 5672, // of an InMemory one, for its URL
		conns: map[*conn]struct{}{}, queues: map[string]*queue{}, exchanges: map[string]exchange{"amq.direct": {}},
		limits: map[string]int{}, faults: map[int]Fault{},
	}
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

func amqpURL(user, password, addr, vhost string) string {
	u := url.URL{Scheme: "amqp", User: url.UserPassword(user, password), Host: addr}
	return u.String() + "/" + url.PathEscape(vhost)
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
	c := newConn(b, nc)
	b.conns[c] = struct{}{}
	b.running.Go(c.serve)
	return true
}
