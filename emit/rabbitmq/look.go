package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Seen is what a visit to the broker has shown.
type Seen struct {
	// Product and Version are the broker's own words, empty where it says none.
	Product, Version string
	// FrameMax is the largest frame that the two sides have agreed on, in bytes.
	FrameMax int
	// Exists tells whether the queue that was asked for is there, Messages how many of it no consumer has, and Consumers how
	// many read it.
	Exists              bool
	Messages, Consumers int
}

// Look logs in to the first host, looks at a queue where one is named, and leaves. It declares nothing, publishes nothing, and takes nothing.
// What the broker told before an error is told beside it; [IsCredentialsRefused] and [IsVHostRefused] tell errors apart.
// Alarms cannot be seen so: a broker tells of them only to who publishes.
func Look(ctx context.Context, cfg Config, queue string) (Seen, error) {
	cfg = cfg.withDefaults()
	ctx, cancel := context.WithTimeout(ctx, cfg.HandshakeTimeout)
	defer cancel()
	l := &link{to: cfg.Connection}
	socket, err := dial(ctx, cfg, cfg.Connection)
	if err != nil {
		return Seen{}, err
	}
	defer socket.Close()
	// The library knows no context: whatever it waits for ends when its socket is closed.
	uncut := context.AfterFunc(ctx, func() { socket.Close() })
	defer uncut()
	l.wire = &wire{Conn: socket}
	if err := l.greet(); err != nil {
		return Seen{}, l.handshakeError(ctx, err)
	}
	defer func() { _ = l.conn.CloseDeadline(time.Now().Add(closeGrace)) }()
	seen := Seen{FrameMax: l.conn.Config.FrameSize}
	seen.Product, _ = l.conn.Properties["product"].(string)
	seen.Version, _ = l.conn.Properties["version"].(string)
	if queue == "" {
		return seen, nil
	}
	if err := seen.inspect(l, queue); err != nil {
		return seen, l.handshakeError(ctx, fmt.Errorf("inspect queue %s: %w", queue, err))
	}
	return seen, nil
}

func (s *Seen) inspect(l *link, queue string) error {
	ch, err := l.conn.Channel()
	if err != nil {
		return err
	}
	found, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	switch {
	case missing(err):
		return nil
	case err != nil:
		return err
	}
	s.Exists, s.Messages, s.Consumers = true, found.Messages, found.Consumers
	return nil
}

// IsCredentialsRefused reports whether the broker does not take the user's name and password.
func IsCredentialsRefused(err error) bool {
	var e *amqp.Error
	return errors.As(err, &e) && e.Code == amqp.AccessRefused
}

// IsVHostRefused reports whether the broker has no such virtual host, or keeps the user out of it.
func IsVHostRefused(err error) bool {
	var e *amqp.Error
	return errors.As(err, &e) && e.Code == amqp.NotAllowed
}
