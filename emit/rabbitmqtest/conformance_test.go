package rabbitmqtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mostBytes is the limit for a message that both brokers are given.
const mostBytes = 6 << 20

// broker is what the conformance test can do to either broker besides talking to it.
type broker struct {
	url        string
	limited    func(t *testing.T, ch *amqp.Channel, queue string, most int) // declares a queue that refuses what is more
	block      func(*testing.T)
	unblock    func(*testing.T)
	closeAll   func(t *testing.T, reason string)
	drop       func(*testing.T)
	restarting func(*testing.T) // drop by a crash of the whole broker
}

// behaviour is something that a client may count on with both brokers.
type behaviour struct {
	promise string
	check   func(*testing.T, broker)
	// alone keeps others away, which would notice.
	alone bool
}

func behaviours() []behaviour {
	var all []behaviour
	for _, some := range [][]behaviour{handshakeBehaviours, topologyBehaviours, publishBehaviours, outageBehaviours} {
		all = append(all, some...)
	}
	return all
}

func conform(t *testing.T, b broker) {
	t.Run("shared", func(t *testing.T) {
		for _, row := range behaviours() {
			if !row.alone {
				t.Run(row.promise, func(t *testing.T) {
					t.Parallel()
					row.check(t, b)
				})
			}
		}
	})
	for _, row := range behaviours() {
		if row.alone {
			t.Run(row.promise, func(t *testing.T) { row.check(t, b) })
		}
	}
}

func TestTheBrokerBehavesLikeRabbitMQ(t *testing.T) {
	b := start(t, Config{MaxMessageSize: mostBytes})
	conform(t, broker{
		url: b.URL(),
		limited: func(t *testing.T, ch *amqp.Channel, queue string, most int) {
			b.LimitQueue(queue, most)
			declare(t, ch, queue)
		},
		block:    func(*testing.T) { b.Block("low on memory") },
		unblock:  func(*testing.T) { b.Unblock() },
		closeAll: func(_ *testing.T, reason string) { b.CloseConnections(reason) },
		drop:     func(*testing.T) { b.Drop() },
		restarting: func(t *testing.T) {
			if err := b.Refuse(true); err != nil {
				t.Fatal(err)
			}
			b.Drop()
			if err := b.Refuse(false); err != nil {
				t.Fatal(err)
			}
		},
	})
}

func TestRabbitMQBehavesLikeItself(t *testing.T) {
	n, err := StartNode(t.Context(), t.TempDir(), WithConfig(fmt.Sprintf("max_message_size = %d", mostBytes)))
	if errors.Is(err, ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	ctl := func(t *testing.T, args ...string) {
		t.Helper()
		if err := n.Control(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	do := func(t *testing.T, f func(context.Context) error) {
		t.Helper()
		if err := f(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	conform(t, broker{
		url: n.URL(),
		limited: func(t *testing.T, ch *amqp.Channel, queue string, most int) {
			_, err := ch.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-max-length": most, "x-overflow": "reject-publish"})
			if err != nil {
				t.Fatal(err)
			}
		},
		block:    func(t *testing.T) { ctl(t, "set_vm_memory_high_watermark", "0.0001") },
		unblock:  func(t *testing.T) { ctl(t, "set_vm_memory_high_watermark", "absolute", nodeMemory) },
		closeAll: func(t *testing.T, reason string) { ctl(t, "close_all_connections", reason) },
		drop: func(t *testing.T) {
			ctl(t, "eval", "[exit(C, kill) || C <- rabbit_networking:local_connections()].")
		},
		restarting: func(t *testing.T) {
			do(t, n.WriteDownQueues)
			if err := n.Kill(); err != nil {
				t.Fatal(err)
			}
			do(t, n.Start)
		},
	})
	// What the node offers besides AMQP, while there is one.
	url := n.URL()
	ch := open(t, dial(t, url))
	declare(t, ch, "counted")
	publishAll(t, confirming(t, ch), "", "counted", "a", "b")
	if got, err := n.Depth(t.Context(), "counted"); err != nil || got != 2 {
		t.Errorf("Depth = %d, %v; want 2", got, err)
	}
	do(t, func(ctx context.Context) error { return n.DeleteQueue(ctx, "counted") })
	if _, err := n.Depth(t.Context(), "counted"); code(err) != amqp.NotFound {
		t.Errorf("Depth of a deleted queue: %v, want 404", err)
	}
	do(t, n.Stop)
	if _, err := amqp.Dial(url); err == nil {
		t.Error("a stopped node took a connection")
	}
}

// patience bounds each wait for a broker.
const patience = 30 * time.Second

func start(t *testing.T, config Config) *Broker {
	t.Helper()
	b, err := Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func dial(t *testing.T, url string) *amqp.Connection { return dialConfig(t, url, amqp.Config{}) }

func dialConfig(t *testing.T, url string, config amqp.Config) *amqp.Connection {
	t.Helper()
	conn, err := amqp.DialConfig(url, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseDeadline(time.Now().Add(patience)) }) // many a test has it closed already
	return conn
}

func open(t *testing.T, conn *amqp.Connection) *amqp.Channel {
	t.Helper()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// declare makes a queue, empty whatever was there.
func declare(t *testing.T, ch *amqp.Channel, name string) string {
	t.Helper()
	if _, err := ch.QueueDeclare(name, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueuePurge(name, false); err != nil {
		t.Fatal(err)
	}
	return name
}

// queueName is the test's own.
func queueName(t *testing.T) string {
	return strings.NewReplacer("/", ".", "_", "-").Replace(t.Name())[strings.Index(t.Name(), "/")+1:]
}

// publisher is a channel in confirm mode.
type publisher struct {
	*amqp.Channel
	confirms chan amqp.Confirmation
	returns  chan amqp.Return
	closed   chan *amqp.Error
}

func confirming(t *testing.T, ch *amqp.Channel) *publisher {
	t.Helper()
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	return &publisher{
		Channel:  ch,
		confirms: ch.NotifyPublish(make(chan amqp.Confirmation, 4096)),
		returns:  ch.NotifyReturn(make(chan amqp.Return, 4096)),
		closed:   ch.NotifyClose(make(chan *amqp.Error, 1)),
	}
}

func (p *publisher) send(t *testing.T, exchange, key, body string) {
	t.Helper()
	err := p.Publish(exchange, key, true, false, amqp.Publishing{
		Body: []byte(body), DeliveryMode: amqp.Persistent, ContentEncoding: "utf-8", ContentType: "application/json",
	})
	if err != nil {
		t.Fatal(err)
	}
}

// confirmed waits for the next confirm.
func (p *publisher) confirmed(t *testing.T) amqp.Confirmation {
	return receive(t, p.confirms, "confirm")
}

// answer publishes and waits for the confirm.
func (p *publisher) answer(t *testing.T, exchange, key, body string) (ack bool) {
	t.Helper()
	p.send(t, exchange, key, body)
	return p.confirmed(t).Ack
}

func publishAll(t *testing.T, p *publisher, exchange, key string, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		p.send(t, exchange, key, body)
	}
	for i := range bodies {
		if c := p.confirmed(t); !c.Ack {
			t.Fatalf("publish %d of %d was refused", i+1, len(bodies))
		}
	}
}

func receive[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("no %s came", what)
		panic("unreachable")
	}
}

// bodies drains the queue by basic.get.
func bodies(t *testing.T, ch *amqp.Channel, queue string) (all []string) {
	t.Helper()
	for {
		d, ok, err := ch.Get(queue, true)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return all
		}
		all = append(all, string(d.Body))
	}
}

// code is the reply code of an error, 0 for none.
func code(err error) int {
	var e *amqp.Error
	if errors.As(err, &e) && e != nil {
		return e.Code
	}
	return 0
}

func wantCode(t *testing.T, what string, err error, want int) {
	t.Helper()
	if code(err) != want {
		t.Errorf("%s: %v, want %d", what, err, want)
	}
}
