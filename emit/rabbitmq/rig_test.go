package rabbitmq_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	exchange = "amqp.connector.exchange"
	key      = "push_routing_1"
	queue    = "push_1"
	user     = "opencti"
	password = "correct horse"
)

// rig is a simulated broker with its queue, a Publisher for it, and the books on what either says.
type rig struct {
	t         testing.TB
	broker    *rabbitmqtest.Broker
	publisher *rabbitmq.Publisher

	mu        sync.Mutex
	stored    map[string]int // bodies by how often the broker stored them
	confirmed map[string]int // bodies by how often they were confirmed
	early     []string       // confirmed while not stored
	refused   []error        // why the broker does not take messages for good
	dials     int

	onStored func(body string) // called by the broker, under no lock
}

// newRig makes a rig whose broker opens no socket, so that it works in a synctest bubble.
func newRig(t testing.TB, adapt func(*rig, *rabbitmq.Config)) *rig {
	return newRigWith(t, rabbitmqtest.Config{InMemory: true}, adapt)
}

func newRigWith(t testing.TB, broker rabbitmqtest.Config, adapt func(*rig, *rabbitmq.Config)) *rig {
	r := &rig{t: t, stored: map[string]int{}, confirmed: map[string]int{}}
	broker.User, broker.Password = user, password
	if !broker.Discard {
		broker.OnMessage = func(m rabbitmqtest.Message) {
			r.mu.Lock()
			r.stored[string(m.Body)]++
			r.mu.Unlock()
			if r.onStored != nil {
				r.onStored(string(m.Body))
			}
		}
	}
	var err error
	if r.broker, err = rabbitmqtest.Start(broker); err != nil {
		t.Fatal(err)
	}
	cfg := rabbitmq.Config{
		Connection: rabbitmq.Connection{Host: r.broker.Host(), Port: r.broker.Port(), User: user, Password: password},
		Exchange:   exchange, RoutingKey: key, Window: 8,
		Backoff: remote.Backoff{Min: time.Millisecond, Max: 50 * time.Millisecond},
	}
	if broker.InMemory {
		cfg.Dial = func(_ context.Context, network, addr string) (net.Conn, error) {
			r.mu.Lock()
			r.dials++
			r.mu.Unlock()
			return r.broker.Dial(network, addr)
		}
	}
	if adapt != nil {
		adapt(r, &cfg)
	}
	r.publisher = rabbitmq.New(cfg)
	t.Cleanup(r.close)
	return r
}

func (r *rig) close() {
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	defer cancel()
	if err := r.publisher.Close(ctx); err != nil {
		r.t.Errorf("close publisher: %v", err)
	}
	if err := r.broker.Close(); err != nil {
		r.t.Errorf("close broker: %v", err)
	}
}

// declare makes the exchange and the queue, as the platform does at registration.
func (r *rig) declare() {
	r.t.Helper()
	config := amqp.Config{}
	if r.broker.Host() == "broker.invalid" {
		config.Dial = r.broker.Dial
	}
	conn, err := amqp.DialConfig(r.broker.URL(), config)
	if err != nil {
		r.t.Fatal(err)
	}
	declare(r.t, conn, nil)
}

func declare(t testing.TB, conn *amqp.Connection, arguments amqp.Table) {
	t.Helper()
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.ExchangeDeclare(exchange, "direct", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare(queue, true, false, false, false, arguments); err != nil {
		t.Fatal(err)
	}
	if err := ch.QueueBind(queue, key, exchange, false, nil); err != nil {
		t.Fatal(err)
	}
}

func body(n int) string { return fmt.Sprintf(`{"action_sequence": %d}`, n) }

// publish hands messages first..last over. Their texts are spoiled once they are settled: nobody may read them from then on.
func (r *rig) publish(ctx context.Context, first, last int) error {
	for n := first; n <= last; n++ {
		b := body(n)
		text := []byte(b)
		if err := r.publisher.Publish(ctx, text, func(refused error) { clear(text); r.confirm(b, refused) }, nil); err != nil {
			return err
		}
	}
	return nil
}

func (r *rig) confirm(b string, refused error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if refused != nil {
		r.refused = append(r.refused, refused)
		return
	}
	r.confirmed[b]++
	if r.stored[b] == 0 {
		r.early = append(r.early, b)
	}
}

// deliver hands messages first..last over and waits until they are confirmed.
func (r *rig) deliver(first, last int) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Hour)
	defer cancel()
	if err := r.publish(ctx, first, last); err != nil {
		r.t.Fatalf("publish: %v (%+v)", err, r.publisher.Stats())
	}
	if err := r.publisher.Flush(ctx, nil); err != nil {
		r.t.Fatalf("flush: %v (%+v)", err, r.publisher.Stats())
	}
}

// check compares the books: messages 1..n are stored, each was confirmed once and not before.
func (r *rig) check(n int) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var want []string
	for i := 1; i <= n; i++ {
		want = append(want, body(i))
		if times := r.confirmed[body(i)]; times != 1 {
			r.t.Errorf("message %d was confirmed %d times", i, times)
		}
	}
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(r.stored)); !slices.Equal(got, want) {
		r.t.Errorf("the broker stored %d different messages, want %d: %q", len(got), len(want), got)
	}
	if len(r.confirmed) != n {
		r.t.Errorf("%d messages were confirmed, want %d", len(r.confirmed), n)
	}
	if len(r.early) > 0 {
		r.t.Errorf("confirmed before they were stored: %q", r.early)
	}
	if s := r.publisher.Stats(); s.Unconfirmed != 0 || s.UnconfirmedBytes != 0 || s.Confirmed != uint64(n) {
		r.t.Errorf("stats do not say that all is done: %+v", s)
	}
}

// inQueue gives what the broker holds, in order.
func (r *rig) inQueue() []string {
	var bodies []string
	for _, m := range r.broker.Messages(queue) {
		bodies = append(bodies, string(m.Body))
	}
	return bodies
}

func (r *rig) dialled() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dials
}
