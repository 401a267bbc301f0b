package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// The limits of what the sandbox does with a real broker.
const (
	reachLimit = 10 * time.Second
	readLimit  = 5 * time.Minute // of all that lies in the queues: on two busy cores 5,000 messages a second
)

// reachBroker logs in at the real broker, where one is used. The twins could start without: a connector would then ask and ask
// OpenCTI for a queue.
func (o Options) reachBroker(ctx context.Context) error {
	if o.RabbitMQ == "" {
		return nil
	}
	conn, err := o.dialBroker(ctx)
	if err == nil {
		err = conn.CloseDeadline(time.Now().Add(reachLimit))
	}
	if err == nil {
		return nil
	}
	advice := "see that RabbitMQ runs there and takes AMQP 0-9-1 at that port"
	if errors.Is(err, amqp.ErrCredentials) || errors.Is(err, amqp.ErrVhost) || refused(err) {
		advice = "check the user, the password and the virtual host"
	}
	return fmt.Errorf("reach the broker of --rabbitmq, %s: %w: %s, or leave --rabbitmq out: the sandbox brings a broker of its own",
		o.brokerName(), err, advice)
}

// refused reports that the broker knows its caller and says no.
func refused(err error) bool {
	var e *amqp.Error
	return errors.As(err, &e) && (e.Code == amqp.AccessRefused || e.Code == amqp.NotAllowed)
}

func (o Options) dialBroker(ctx context.Context) (*amqp.Connection, error) {
	return amqp.DialConfig(o.RabbitMQ, amqp.Config{Dial: func(network, addr string) (net.Conn, error) {
		dialer := net.Dialer{Timeout: reachLimit}
		nc, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return nc, nc.SetDeadline(time.Now().Add(reachLimit)) // the client clears it when it has logged in
	}})
}

// brokerName is the real broker's address without its password.
func (o Options) brokerName() string {
	u, err := url.Parse(o.RabbitMQ)
	if err != nil {
		return "as given"
	}
	return u.Redacted()
}

// readQueues takes out of a real broker's queues what lies there now, and looks at it. held is how many messages that were: more
// than arrived where the limit came first.
func (o Options) readQueues(t *twins) (held int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), readLimit) // whatever ended the sandbox
	defer cancel()
	conn, err := o.dialBroker(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the queue: %w", err)
	}
	defer func() { _ = conn.CloseDeadline(time.Now().Add(reachLimit)) }() // nothing is under way on it
	known := map[string]bool{}
	for _, r := range t.platform.Registrations() {
		if known[r.ID] {
			continue
		}
		known[r.ID] = true
		n, err := readQueue(ctx, conn, queueOf(r), t.arrived)
		if held += n; err != nil {
			return held, fmt.Errorf("read queue push_%s: %w", r.ID, err)
		}
	}
	return held, nil
}

// readQueue takes out of a queue what lies in it now, one message at a time so that memory holds one. A queue that is gone held
// nothing.
func readQueue(ctx context.Context, conn *amqp.Connection, queue string, into *arrivals) (held int, err error) {
	ch, err := conn.Channel()
	if err != nil {
		return 0, err
	}
	q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	var e *amqp.Error
	if errors.As(err, &e) && e.Code == amqp.NotFound {
		return 0, nil
	}
	for range q.Messages { // a connector that still runs could go on for ever
		if err != nil || ctx.Err() != nil {
			break
		}
		var m amqp.Delivery
		var ok bool
		if m, ok, err = ch.Get(queue, true); ok {
			into.add(m.Body)
		}
	}
	return q.Messages, err
}
