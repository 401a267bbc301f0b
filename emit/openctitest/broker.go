package openctitest

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	connectorExchange = "amqp.connector.exchange"
	workerExchange    = "amqp.worker.exchange"
	// brokerPatience bounds one visit to the broker: its steps are few and small.
	brokerPatience = 10 * time.Second
	// messageBytes is taken for the size of a queued message when the broker tells their number only.
	messageBytes = 2048
)

// Broker is a message broker that speaks AMQP 0-9-1. One that also has Depth(queue string) (messages int, bytes int64) is
// asked for the size of the queue that way, any other over AMQP, which tells the number of messages only. One that also
// has Dial(network, address string) (net.Conn, error) is connected to that way.
type Broker interface {
	// URL is where it listens, with user, password and virtual host. It may change between calls.
	URL() string
}

// BrokerURL is a broker of which only the address is known.
type BrokerURL string

// URL returns the address.
func (b BrokerURL) URL() string { return string(b) }

// queues are what the platform makes of a broker, which is nil where there is none.
type queues struct {
	broker Broker
	kind   string // of the queues, "" for the broker's default

	mu         sync.Mutex
	connectors []string // whose queues were declared
	looked     bool     // for what was there before
	made       []string // exchanges that were not
}

// queueSize is how much waits in the connector's queue.
type queueSize struct {
	messages int
	bytes    int64
}

func pushQueue(id string) string   { return "push_" + id }
func listenQueue(id string) string { return "listen_" + id }

// connection returns what the platform tells connectors about its broker.
func (q *queues) connection() (amqp.URI, error) {
	if q.broker == nil {
		return amqp.URI{Scheme: "amqp", Host: "localhost", Port: 5672, Username: "guest", Password: "guest", Vhost: "/"}, nil
	}
	uri, err := amqp.ParseURI(q.broker.URL())
	if err != nil {
		return amqp.URI{}, fmt.Errorf("read broker address: %w", err)
	}
	return uri, nil
}

// visit runs f on a channel of its own and closes the connection.
func (q *queues) visit(f func(*amqp.Channel) error) error {
	if q.broker == nil {
		return nil
	}
	dial := amqp.DefaultDial(brokerPatience)
	if d, ok := q.broker.(interface {
		Dial(network, address string) (net.Conn, error)
	}); ok {
		dial = d.Dial
	}
	conn, err := amqp.DialConfig(q.broker.URL(), amqp.Config{
		Dial:       dial,
		Properties: amqp.Table{"connection_name": "platform"},
	})
	if err != nil {
		return fmt.Errorf("connect to broker: %w", err)
	}
	defer func() { _ = conn.CloseDeadline(time.Now().Add(brokerPatience)) }()
	ch, err := conn.Channel()
	if err != nil {
		return fmt.Errorf("open channel: %w", err)
	}
	return f(ch)
}

// exchanges are those that every platform declares.
func exchanges() []string { return []string{connectorExchange, workerExchange} }

// lookAhead keeps which exchanges the first declaration makes: those that are there already belong to another platform.
func (q *queues) lookAhead() error {
	q.mu.Lock()
	looked := q.looked
	q.mu.Unlock()
	if looked {
		return nil
	}
	var made []string
	for _, exchange := range exchanges() {
		err := q.visit(func(ch *amqp.Channel) error {
			return ch.ExchangeDeclarePassive(exchange, amqp.ExchangeDirect, true, false, false, false, nil)
		})
		switch {
		case notFound(err):
			made = append(made, exchange)
		case err != nil:
			return fmt.Errorf("look for exchange %s: %w", exchange, err)
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.looked { // else another registration has looked first, and may have declared since
		q.looked, q.made = true, made
	}
	return nil
}

// declare brings the connector's exchanges, queues and bindings about.
func (q *queues) declare(id string) error {
	if err := q.lookAhead(); err != nil {
		return err
	}
	q.mu.Lock()
	if !slices.Contains(q.connectors, id) {
		q.connectors = append(q.connectors, id)
	}
	q.mu.Unlock()
	return q.visit(func(ch *amqp.Channel) error {
		for _, exchange := range exchanges() {
			if err := ch.ExchangeDeclare(exchange, amqp.ExchangeDirect, true, false, false, false, nil); err != nil {
				return fmt.Errorf("declare exchange %s: %w", exchange, err)
			}
		}
		for _, declared := range []struct{ name, key, exchange string }{
			{listenQueue(id), "listen_routing_" + id, connectorExchange},
			{pushQueue(id), "push_routing_" + id, workerExchange},
		} {
			if _, err := ch.QueueDeclare(declared.name, true, false, false, false, q.arguments()); err != nil {
				return fmt.Errorf("declare queue %s: %w", declared.name, err)
			}
			if err := ch.QueueBind(declared.name, declared.key, declared.exchange, false, nil); err != nil {
				return fmt.Errorf("bind queue %s: %w", declared.name, err)
			}
		}
		return nil
	})
}

// arguments are what the queues are declared with.
func (q *queues) arguments() amqp.Table {
	if q.kind == "" {
		return nil
	}
	return amqp.Table{amqp.QueueTypeArg: q.kind}
}

// purge empties both queues of a connector; one that is not there fails it.
func (q *queues) purge(id string) error {
	return q.visit(func(ch *amqp.Channel) error {
		for _, queue := range []string{pushQueue(id), listenQueue(id)} {
			if _, err := ch.QueuePurge(queue, false); err != nil {
				return fmt.Errorf("purge queue %s: %w", queue, err)
			}
		}
		return nil
	})
}

func (q *queues) undeclare(id string) error {
	return q.visit(func(ch *amqp.Channel) error {
		for _, queue := range []string{pushQueue(id), listenQueue(id)} {
			if _, err := ch.QueueDelete(queue, false, false, false); err != nil && !notFound(err) {
				return fmt.Errorf("delete queue %s: %w", queue, err)
			}
		}
		return nil
	})
}

// withdraw removes the queues of all connectors, and the exchanges that this platform made and no other uses.
func (q *queues) withdraw() error {
	q.mu.Lock()
	connectors, made := q.connectors, q.made
	q.connectors, q.made, q.looked = nil, nil, false
	q.mu.Unlock()
	var errs []error
	for _, id := range connectors {
		errs = append(errs, q.undeclare(id))
	}
	for _, exchange := range made {
		err := q.visit(func(ch *amqp.Channel) error { return ch.ExchangeDelete(exchange, true, false) })
		if err != nil && !notFound(err) && !inUse(err) {
			errs = append(errs, fmt.Errorf("delete exchange %s: %w", exchange, err))
		}
	}
	return errors.Join(errs...)
}

// depth returns the size of the connector's queue; a queue that is gone has none.
func (q *queues) depth(id string) (queueSize, error) {
	if d, ok := q.broker.(interface {
		Depth(queue string) (messages int, bytes int64)
	}); ok {
		messages, bytes := d.Depth(pushQueue(id))
		return queueSize{messages, bytes}, nil
	}
	var size queueSize
	err := q.visit(func(ch *amqp.Channel) error {
		state, err := ch.QueueDeclarePassive(pushQueue(id), true, false, false, false, nil)
		if err != nil && !notFound(err) {
			return fmt.Errorf("inspect queue: %w", err)
		}
		size = queueSize{state.Messages, int64(state.Messages) * messageBytes}
		return nil
	})
	return size, err
}

func notFound(err error) bool {
	var e *amqp.Error
	return errors.As(err, &e) && e.Code == amqp.NotFound
}

// inUse reports that the broker keeps an exchange to which queues are bound.
func inUse(err error) bool {
	var e *amqp.Error
	return errors.As(err, &e) && e.Code == amqp.PreconditionFailed
}
