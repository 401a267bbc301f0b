package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/zap"
)

// route is where messages go.
type route struct{ exchange, key string }

// session delivers over one connection.
type session struct {
	settler
	route route
}

func newSession(l *link, box *outbox, o *outage, to route) *session {
	return &session{
		settler: settler{
			link: l, box: box, outage: o,
			flown:   make(chan struct{}, 1),
			written: make(chan error, 1),
			flights: flights{buf: make([]flight, 0, 2*box.cfg.Window)},
		},
		route: to,
	}
}

// serve delivers until the session fails or ctx ends. It leaves everything that is not confirmed marked as unsent.
func (s *session) serve(ctx context.Context) (progress bool, err error) {
	s.begin()
	writing, stopWriting := context.WithCancel(ctx)
	writerDone := make(chan struct{})
	go func() {
		defer close(writerDone)
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
	<-writerDone
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
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	s.box.up, s.box.blocked = true, false
	s.box.paced = pace{probing: true, careful: s.box.paced.careful}
	s.box.stats.Sessions++
	s.box.wake()
	signal(s.box.work)
}

// end closes the gates, settles what the broker has still confirmed, and makes the rest unsent.
func (s *session) end(err error) error {
	if s.resume != nil {
		s.resume.Stop()
	}
	s.box.mu.Lock()
	s.box.up, s.box.blocked = false, false
	s.settleRest()
	s.box.mu.Unlock()
	s.callBack()

	s.box.mu.Lock()
	if refusedPublish(err) {
		err = s.learn(err)
	}
	s.box.window.allAgain()
	s.box.mu.Unlock()
	if learnt := (*learntError)(nil); errors.As(err, &learnt) {
		s.box.turnAway()
	}
	return err
}

// write publishes what may be published until ctx ends or the connection fails.
func (s *session) write(ctx context.Context) error {
	defer func() { _ = s.wire.release() }() // else the farewell would be held back as well
	held := false
	for ctx.Err() == nil {
		m := s.box.take()
		if m == nil {
			if err := s.wire.release(); err != nil {
				return fmt.Errorf("write to broker: %w", err)
			}
			held = false
			select {
			case <-s.box.work:
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
	return nil
}

// watchBlocking follows the broker's alarms until the connection is closed. It does nothing else, because a notice for
// which the library finds no reader is dropped, and a lost "unblocked" would stop delivery for good.
func (s *session) watchBlocking() {
	for b := range s.blocking {
		box := s.box
		box.mu.Lock()
		box.blocked = b.Active && box.up
		box.paced.since = time.Now()
		box.wake()
		box.mu.Unlock()
		signal(box.work)
		if b.Active {
			box.cfg.Log.Error("RabbitMQ is short of memory or disk and takes no messages; the connector waits, and goes on by itself when it does: free memory or disk there", zap.String("reason", b.Reason))
		} else {
			box.cfg.Log.Info("the broker takes messages again")
		}
	}
}
