package rabbitmq

import (
	"context"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// closeGrace is how long the end of a session may take: a broker that answers at all does so within it.
const closeGrace = time.Second

// link is one connection with its channel, from login to its end.
type link struct {
	to   Connection
	wire *wire
	conn *amqp.Connection
	ch   *amqp.Channel

	connClosed chan *amqp.Error
	chanClosed chan *amqp.Error
	returned   chan amqp.Return
	blocking   chan amqp.Blocking
}

// open connects, logs in and opens a channel that confirms.
func open(ctx context.Context, cfg Config, to Connection) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.HandshakeTimeout)
	defer cancel()
	l := &link{
		to:         to,
		connClosed: make(chan *amqp.Error, 1),
		chanClosed: make(chan *amqp.Error, 1),
		// One place for every message in flight: the library drops a return that finds no room, and its message would then
		// pass for confirmed.
		returned: make(chan amqp.Return, cfg.Window),
		blocking: make(chan amqp.Blocking, 1),
	}
	socket, err := dial(ctx, cfg, to)
	if err != nil {
		return nil, err
	}
	// The library's handshake knows no context: it ends when its socket is closed.
	uncut := context.AfterFunc(ctx, func() { socket.Close() })
	l.wire = &wire{Conn: socket}
	if err := l.login(); err != nil {
		socket.Close()
		return nil, l.handshakeError(ctx, err)
	}
	if !uncut() {
		l.conn.Close()
		return nil, l.handshakeError(ctx, ctx.Err())
	}
	return l, nil
}

func (l *link) handshakeError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = ctx.Err()
	} else {
		err = l.wire.explain(err)
	}
	return fmt.Errorf("log in to broker %s: %w", l.to.address(), err)
}

// login opens the connection and a channel that confirms.
func (l *link) login() (err error) {
	if err := l.greet(); err != nil {
		return err
	}
	l.conn.NotifyClose(l.connClosed)
	l.conn.NotifyBlocked(l.blocking)
	if l.ch, err = l.conn.Channel(); err != nil {
		return fmt.Errorf("open channel: %w", err)
	}
	l.ch.NotifyClose(l.chanClosed)
	l.ch.NotifyReturn(l.returned)
	if err := l.ch.Confirm(false); err != nil {
		return fmt.Errorf("ask for confirms: %w", err)
	}
	return nil
}

// greet opens the connection.
func (l *link) greet() error {
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName(connectionName)
	conn, err := amqp.Open(l.wire, amqp.Config{
		SASL:       []amqp.Authentication{&amqp.PlainAuth{Username: l.to.User, Password: l.to.Password}},
		Vhost:      l.to.vhost(),
		Heartbeat:  heartbeat,
		FrameSize:  128 << 10, // the broker's own default
		Properties: properties,
		Locale:     "en_US",
	})
	if err != nil {
		return err
	}
	l.conn = conn
	return nil
}

// lost is the error for a connection or channel that was closed by the other side.
func lost(e *amqp.Error) error {
	if e == nil {
		return amqp.ErrClosed
	}
	return e
}

// closeReason waits a moment for the library to say why the channel is closed; otherwise is what was seen of it.
func (l *link) closeReason(otherwise error) error {
	t := time.NewTimer(closeGrace)
	defer t.Stop()
	select {
	case e := <-l.chanClosed:
		return lost(e)
	case e := <-l.connClosed:
		return lost(e)
	case <-t.C:
	}
	if otherwise == nil {
		otherwise = amqp.ErrClosed
	}
	return otherwise
}
