package rabbitmq_test

import (
	"context"
	"errors"
	"net"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
)

func TestALookChangesNothing(t *testing.T) {
	broker, err := rabbitmqtest.Start(rabbitmqtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	cfg := rabbitmq.Config{Connection: rabbitmq.Connection{Host: broker.Host(), Port: broker.Port(), User: "guest", Password: "guest"}}
	seen, err := rabbitmq.Look(t.Context(), cfg, queue)
	if err != nil || seen.Exists || seen.Product != "RabbitMQ" || seen.Version == "" || seen.FrameMax != 128<<10 {
		t.Errorf("before the queue is declared: %+v, %v", seen, err)
	}
	if broker.Changes()+broker.Published() != 0 {
		t.Errorf("a look changed something %d times and published %d messages", broker.Changes(), broker.Published())
	}
	fill(t, broker.URL(), 3)
	if seen, err = rabbitmq.Look(t.Context(), cfg, queue); err != nil || !seen.Exists || seen.Messages != 3 || seen.Consumers != 0 {
		t.Errorf("with three messages in the queue: %+v, %v", seen, err)
	}
	if messages, _ := broker.Depth(queue); messages != 3 {
		t.Errorf("%d messages are left", messages)
	}
}

// fill declares the queue and publishes to it.
func fill(t *testing.T, url string, messages int) {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare(queue, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	for range messages {
		confirm, err := ch.PublishWithDeferredConfirm("", queue, false, false, amqp.Publishing{})
		if err != nil {
			t.Fatal(err)
		}
		if taken, err := confirm.WaitContext(t.Context()); err != nil || !taken {
			t.Fatal(err)
		}
	}
}

func TestALookTellsWhoIsKeptOut(t *testing.T) {
	broker, err := rabbitmqtest.Start(rabbitmqtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	conn := rabbitmq.Connection{Host: broker.Host(), Port: broker.Port(), User: "guest", Password: "wrong"}
	if _, err := rabbitmq.Look(t.Context(), rabbitmq.Config{Connection: conn}, ""); !rabbitmq.IsCredentialsRefused(err) || rabbitmq.IsVHostRefused(err) {
		t.Errorf("a wrong password: %v", err)
	}
	conn.Password, conn.VHost = "guest", "elsewhere"
	if _, err := rabbitmq.Look(t.Context(), rabbitmq.Config{Connection: conn}, ""); !rabbitmq.IsVHostRefused(err) || rabbitmq.IsCredentialsRefused(err) {
		t.Errorf("a virtual host that is not there: %v", err)
	}
}

// A peer that takes connections and says nothing keeps nobody.
func TestALookEndsWithItsContext(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		if conn, err := silent.Accept(); err == nil {
			defer conn.Close()
			_, _ = conn.Read(make([]byte, 8)) // the client's greeting
			cancel()
			_, _ = conn.Read(make([]byte, 1))
		}
	}()
	port := silent.Addr().(*net.TCPAddr).Port
	_, err = rabbitmq.Look(ctx, rabbitmq.Config{Connection: rabbitmq.Connection{Host: "127.0.0.1", Port: port, User: "guest"}}, "")
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func (n nodeRig) showsItselfToALook(t *testing.T) {
	cfg := rabbitmq.Config{Connection: rabbitmq.Connection{Host: n.node.Host(), Port: n.node.Port(), User: n.node.User(), Password: n.node.Password()}}
	seen, err := rabbitmq.Look(t.Context(), cfg, queue)
	if err != nil || seen.Exists || seen.Product != "RabbitMQ" || seen.Version == "" || seen.FrameMax != 128<<10 {
		t.Errorf("before the queue is declared: %+v, %v", seen, err)
	}
	if _, err := n.node.Depth(t.Context(), queue); err == nil {
		t.Error("a look has declared the queue")
	}
	fill(t, n.node.URL(), 3)
	if seen, err = rabbitmq.Look(t.Context(), cfg, queue); err != nil || !seen.Exists || seen.Messages != 3 {
		t.Errorf("with three messages in the queue: %+v, %v", seen, err)
	}
	if err := n.node.DeleteQueue(t.Context(), queue); err != nil {
		t.Error(err)
	}
	cfg.Connection.Password = "wrong"
	if _, err := rabbitmq.Look(t.Context(), cfg, ""); !rabbitmq.IsCredentialsRefused(err) {
		t.Errorf("a wrong password: %v", err)
	}
	cfg.Connection.Password, cfg.Connection.VHost = n.node.Password(), "elsewhere"
	if _, err := rabbitmq.Look(t.Context(), cfg, ""); !rabbitmq.IsVHostRefused(err) {
		t.Errorf("a virtual host that is not there: %v", err)
	}
}
