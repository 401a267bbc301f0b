package rabbitmq

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/zap"
)

// closeGrace is how long the end of a session may take: a broker that answers at all does so within it.
const closeGrace = time.Second

// session is one connection with its channel, from login to its end.
type session struct {
	p     *Publisher
	route route

	wire *wire
	conn *amqp.Connection
	ch   *amqp.Channel

	connClosed chan *amqp.Error
	chanClosed chan *amqp.Error
	returned   chan amqp.Return
	blocking   chan amqp.Blocking
	flown      chan struct{} // a flight was added; room for one token
	written    chan error    // how the writer ended; room for its one answer

	flights flights // under the Publisher's lock

	// What follows is the owner's.
	returns  returns
	acked    []*message // confirmed, not yet called back
	gaveBack bool       // a message was returned, and Refresh can help
	behind   int        // how many of the flights overtook a message that was refused
	refusals int        // pauses for refused messages since the last confirm
	resume   *time.Timer
	progress bool
}

// open connects, logs in and opens a channel that confirms.
func open(ctx context.Context, p *Publisher) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.HandshakeTimeout)
	defer cancel()
	s := &session{
		p: p, route: p.route,
		connClosed: make(chan *amqp.Error, 1),
		chanClosed: make(chan *amqp.Error, 1),
		// One place for every message in flight: the library drops a return that finds no room, and its message would then
		// pass for confirmed.
		returned: make(chan amqp.Return, p.cfg.Window),
		blocking: make(chan amqp.Blocking, 1),
		flown:    make(chan struct{}, 1),
		written:  make(chan error, 1),
		flights:  flights{buf: make([]flight, 0, 2*p.cfg.Window)},
	}
	socket, err := dial(ctx, p.cfg, s.route.conn)
	if err != nil {
		return nil, err
	}
	// The library's handshake knows no context: it ends when its socket is closed.
	uncut := context.AfterFunc(ctx, func() { socket.Close() })
	s.wire = &wire{Conn: socket}
	if err := s.login(); err != nil {
		socket.Close()
		return nil, s.handshakeError(ctx, err)
	}
	if !uncut() {
		s.conn.Close()
		return nil, s.handshakeError(ctx, ctx.Err())
	}
	return s, nil
}

func (s *session) handshakeError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return fmt.Errorf("log in to broker %s: %w", s.route.conn.address(), err)
}

// dial opens the socket, with TLS where asked for.
func dial(ctx context.Context, cfg Config, to Connection) (net.Conn, error) {
	socket, err := cfg.Dial(ctx, "tcp", to.address())
	if err != nil {
		return nil, fmt.Errorf("dial broker: %w", err)
	}
	if !to.UseSSL {
		return socket, nil
	}
	settings := to.TLS.Clone()
	if settings == nil {
		settings = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if settings.ServerName == "" {
		settings.ServerName = to.Host
	}
	secured := tls.Client(socket, settings)
	if err := secured.HandshakeContext(ctx); err != nil {
		socket.Close()
		return nil, fmt.Errorf("shake hands with broker %s over TLS: %w", to.address(), err)
	}
	return secured, nil
}

func (s *session) login() error {
	to := s.route.conn
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName(connectionName)
	conn, err := amqp.Open(s.wire, amqp.Config{
		SASL:       []amqp.Authentication{&amqp.PlainAuth{Username: to.User, Password: to.Password}},
		Vhost:      to.vhost(),
		Heartbeat:  heartbeat,
		FrameSize:  128 << 10, // the broker's own default
		Properties: properties,
		Locale:     "en_US",
	})
	if err != nil {
		return err
	}
	s.conn = conn
	conn.NotifyClose(s.connClosed)
	conn.NotifyBlocked(s.blocking)
	if s.ch, err = conn.Channel(); err != nil {
		return fmt.Errorf("open channel: %w", err)
	}
	s.ch.NotifyClose(s.chanClosed)
	s.ch.NotifyReturn(s.returned)
	if err := s.ch.Confirm(false); err != nil {
		return fmt.Errorf("ask for confirms: %w", err)
	}
	return nil
}

// serve delivers until the session fails or ctx ends. It leaves everything that is not confirmed marked as unsent.
func (s *session) serve(ctx context.Context) (progress bool, err error) {
	s.begin()
	writing, stopWriting := context.WithCancel(ctx)
	written := make(chan struct{})
	go func() {
		defer close(written)
		s.written <- s.write(writing)
	}()
	var watching sync.WaitGroup
	watching.Go(s.watchBlocking)

	err = s.settle(ctx)

	stopWriting()
	// The writer may sit in a write that the broker does not read, and a close that the broker does not answer: closing
	// the socket ends both.
	cut := time.AfterFunc(closeGrace, func() { s.wire.Close() })
	polite := err == nil || errors.Is(err, errReturned) || s.ch.IsClosed()
	if !polite {
		s.wire.Close()
	}
	<-written
	if polite && !s.conn.IsClosed() {
		_ = s.conn.Close()
	}
	s.wire.Close()
	watching.Wait()
	cut.Stop()
	err = s.end(err)
	return s.progress, err
}

// begin opens the gates for Publish and the writer.
func (s *session) begin() {
	p := s.p
	p.mu.Lock()
	defer p.mu.Unlock()
	p.up, p.blocked = true, false
	p.paced = pace{probing: true, careful: p.paced.careful}
	p.stats.Sessions++
	p.wake()
	signal(p.work)
}

// end closes the gates, settles what the broker has still confirmed, and makes the rest unsent.
func (s *session) end(err error) error {
	p := s.p
	if s.resume != nil {
		s.resume.Stop()
	}
	p.mu.Lock()
	p.up, p.blocked = false, false
	s.settleRest()
	p.mu.Unlock()
	s.callBack()

	p.mu.Lock()
	defer p.mu.Unlock()
	if refusedPublish(err) {
		err = s.suspect(err)
	}
	p.window.allAgain()
	return err
}

// suspect looks for the message over which the broker closed the channel. When only one was in flight it is that one;
// otherwise all that are held go out one at a time from now on.
func (s *session) suspect(err error) error {
	p := s.p
	if p.paced.inFlight != 1 {
		p.paced.careful = p.window.lastSeq
		return err
	}
	m := p.window.first
	for m != nil && m.status != sent {
		m = m.next
	}
	if m == nil {
		return err
	}
	m.refusals++
	if m.refusals < refusalsBeforeGivingUp {
		return err
	}
	return &PermanentError{
		Problem: fmt.Sprintf("the broker closes the channel over a message of %d bytes; "+
			"set CONNECTOR_MAX_MESSAGE_BYTES below the broker's max_message_size", len(m.body)),
		Err: err,
	}
}

// write publishes what may be published until ctx ends or the connection fails.
func (s *session) write(ctx context.Context) error {
	held := false
	for ctx.Err() == nil {
		m := s.p.take()
		if m == nil {
			if err := s.wire.release(); err != nil {
				return fmt.Errorf("write to broker: %w", err)
			}
			held = false
			select {
			case <-s.p.work:
			case <-ctx.Done():
			}
			continue
		}
		if !held {
			s.wire.hold()
			held = true
		}
		confirm, err := s.ch.PublishWithDeferredConfirm(s.route.exchange, s.route.key, true, false, amqp.Publishing{
			ContentEncoding: "utf-8",
			DeliveryMode:    amqp.Persistent,
			Body:            m.body,
		})
		if err != nil {
			return fmt.Errorf("write to broker: %w", err)
		}
		s.fly(flight{message: m, confirm: confirm})
	}
	_ = s.wire.release()
	return nil
}

// fly gives the owner a message to settle.
func (s *session) fly(f flight) {
	s.p.mu.Lock()
	s.flights.push(f)
	first := s.flights.len() == 1
	s.p.mu.Unlock()
	if first {
		signal(s.flown)
	}
}

// watchBlocking follows the broker's alarms until the connection is closed. It does nothing else, because a notice for
// which the library finds no reader is dropped, and a lost "unblocked" would stop delivery for good.
func (s *session) watchBlocking() {
	for b := range s.blocking {
		p := s.p
		p.mu.Lock()
		p.blocked = b.Active && p.up
		p.paced.since = time.Now()
		p.wake()
		p.mu.Unlock()
		signal(p.work)
		if b.Active {
			p.cfg.Log.Warn("the broker is short of memory or disk and takes no messages; waiting", zap.String("reason", b.Reason))
		} else {
			p.cfg.Log.Info("the broker takes messages again")
		}
	}
}
