package rabbitmq_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// TestOnARealBroker holds the promise against RabbitMQ itself: a node that is killed and started again in the middle, a
// queue that refuses, a queue that is deleted, a message that is never taken.
func TestOnARealBroker(t *testing.T) {
	if testing.Short() {
		t.Skip("starting a RabbitMQ node takes seconds")
	}
	node, err := rabbitmqtest.StartNode(t.Context(), t.TempDir(), rabbitmqtest.WithConfig("max_message_size = 500000"))
	if errors.Is(err, rabbitmqtest.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Close(); err != nil {
			t.Error(err)
		}
	})
	n := nodeRig{t: t, node: node}
	t.Run("looked at", n.showsItselfToALook)
	t.Run("killed in the middle", n.survivesAKill)
	t.Run("queue full", n.waitsForAFullQueue)
	t.Run("queue deleted", n.refillsADeletedQueue)
	t.Run("messages too large", n.refusesWhatIsTooLarge)
}

// hang ends a test that hangs; where the machine has nothing else to do none takes a tenth of it.
const hang = 5 * time.Minute

type nodeRig struct {
	t    *testing.T
	node *rabbitmqtest.Node
}

// declare makes a fresh queue.
func (n nodeRig) declare(t *testing.T, arguments amqp.Table) {
	t.Helper()
	conn := n.dial(t)
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDelete(queue, false, false, false); err != nil {
		t.Fatal(err)
	}
	declare(t, conn, arguments)
}

func (n nodeRig) dial(t *testing.T) *amqp.Connection {
	t.Helper()
	conn, err := amqp.Dial(n.node.URL())
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// count is what drain is given to count each body.
func count(into map[string]int) func(body string) { return func(body string) { into[body]++ } }

// drain takes what the queue holds, until it is empty.
func (n nodeRig) drain(t *testing.T, took func(body string)) {
	t.Helper()
	conn := n.dial(t)
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	for {
		d, ok, err := ch.Get(queue, true)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return
		}
		took(string(d.Body))
	}
}

// books records the confirms of a Publisher.
type books struct {
	mu        sync.Mutex
	confirmed map[string]int
	refused   []error
}

func (n nodeRig) publisher(t *testing.T, adapt func(*rabbitmq.Config)) (*rabbitmq.Publisher, *books) {
	cfg := rabbitmq.Config{
		Connection: rabbitmq.Connection{Host: n.node.Host(), Port: n.node.Port(), User: n.node.User(), Password: n.node.Password()},
		Exchange:   exchange, RoutingKey: key, Window: 200,
		Backoff: remote.Backoff{Min: 5 * time.Millisecond, Max: 100 * time.Millisecond},
	}
	if adapt != nil {
		adapt(&cfg)
	}
	p := rabbitmq.New(cfg)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), hang)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return p, &books{confirmed: map[string]int{}}
}

func (b *books) publish(ctx context.Context, p *rabbitmq.Publisher, first, last int, then func(n int)) error {
	for i := first; i <= last; i++ {
		text := body(i)
		if err := p.Publish(ctx, []byte(text), func(refused error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			if refused != nil {
				b.refused = append(b.refused, refused)
				return
			}
			b.confirmed[text]++
		}, nil); err != nil {
			return err
		}
		if then != nil {
			then(i)
		}
	}
	return p.Flush(ctx, nil)
}

func (b *books) check(t *testing.T, n int, got map[string]int) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := 1; i <= n; i++ {
		if got[body(i)] == 0 {
			t.Errorf("message %d is lost", i)
		}
		if b.confirmed[body(i)] != 1 {
			t.Errorf("message %d was confirmed %d times", i, b.confirmed[body(i)])
		}
	}
	if len(got) != n {
		t.Errorf("%d different messages, want %d", len(got), n)
	}
}

func (n nodeRig) survivesAKill(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	n.declare(t, nil)
	if err := n.node.WriteDownQueues(ctx); err != nil {
		t.Fatal(err)
	}
	p, b := n.publisher(t, nil)
	const messages = 6000
	again := make(chan error, 1)
	err := b.publish(ctx, p, 1, messages, func(i int) {
		if i != messages/2 {
			return
		}
		if err := n.node.Kill(); err != nil {
			t.Error(err)
		}
		go func() { again <- n.node.Start(ctx) }()
	})
	if err != nil {
		t.Fatalf("%v (%+v)", err, p.Stats())
	}
	if err := <-again; err != nil {
		t.Fatal(err)
	}
	if s := p.Stats(); s.Sessions < 2 {
		t.Errorf("the kill was not met: %+v", s)
	}
	got := map[string]int{}
	n.drain(t, count(got))
	b.check(t, messages, got)
}

// waitsForAFullQueue takes nothing from the queue before it has refused something.
func (n nodeRig) waitsForAFullQueue(t *testing.T) {
	const room, messages = 100, 500
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	n.declare(t, amqp.Table{"x-max-length": room, "x-overflow": "reject-publish"})
	p, b := n.publisher(t, nil)
	done := make(chan error, 1)
	go func() { done <- b.publish(ctx, p, 1, messages, nil) }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	got := map[string]int{}
	for finished := false; !finished; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatalf("%v (%+v)", err, p.Stats())
			}
			finished = true
		case <-tick.C:
		}
		if finished || p.Stats().Nacked > 0 {
			n.drain(t, count(got))
		}
	}
	b.check(t, messages, got)
	if s := p.Stats(); s.Nacked == 0 {
		t.Errorf("the queue was never full: %+v", s)
	}
}

func (n nodeRig) refillsADeletedQueue(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	n.declare(t, nil)
	p, b := n.publisher(t, func(c *rabbitmq.Config) {
		c.Refresh = func(context.Context) (rabbitmq.Connection, string, string, error) {
			declare(t, n.dial(t), nil)
			return c.Connection, exchange, key, nil
		}
	})
	if err := b.publish(ctx, p, 1, 300, nil); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	n.drain(t, count(got))
	if err := n.node.DeleteQueue(ctx, queue); err != nil {
		t.Fatal(err)
	}
	if err := b.publish(ctx, p, 301, 600, nil); err != nil {
		t.Fatalf("%v (%+v)", err, p.Stats())
	}
	n.drain(t, count(got))
	b.check(t, 600, got)
	if s := p.Stats(); s.Returned == 0 || s.Refreshes == 0 {
		t.Errorf("the missing queue was not met: %+v", s)
	}
}
