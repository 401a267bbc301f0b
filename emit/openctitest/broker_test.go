package openctitest_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
)

var (
	_ openctitest.Broker = (*rabbitmqtest.Broker)(nil)
	_ openctitest.Broker = (*rabbitmqtest.Node)(nil)
)

func startBroker(t *testing.T) *rabbitmqtest.Broker {
	t.Helper()
	b, err := rabbitmqtest.Start(rabbitmqtest.Config{})
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

// publish sends n messages to where the registration says, and fails when one is returned.
func publish(t *testing.T, url string, n int) {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	returned := ch.NotifyReturn(make(chan amqp.Return, n))
	for range n {
		confirm, err := ch.PublishWithDeferredConfirm("amqp.worker.exchange", "push_routing_c1", true, false, amqp.Publishing{Body: make([]byte, 100)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		if ok, err := confirm.WaitContext(ctx); !ok || err != nil {
			t.Fatalf("confirm: %v, %v", ok, err)
		}
		cancel()
	}
	if len(returned) > 0 {
		t.Fatalf("returned: %+v", <-returned)
	}
}

func (p *platform) queue() (messages, bytes float64) {
	p.t.Helper()
	r := p.ask(`{ connector(id: "c1") { connector_queue_details { messages_number messages_size } } }`, nil)
	if r.Errors != nil {
		p.t.Fatal(r.Errors)
	}
	d := r.Data["connector"].(map[string]any)["connector_queue_details"].(map[string]any)
	return d["messages_number"].(float64), d["messages_size"].(float64)
}

func TestARegistrationDeclaresWhatMessagesNeed(t *testing.T) {
	broker := startBroker(t)
	for name, b := range map[string]openctitest.Broker{"simulated": broker, "by address": openctitest.BrokerURL(broker.URL())} {
		t.Run(name, func(t *testing.T) {
			p := start(t, openctitest.Config{Broker: b})
			size := 100.0
			if name == "by address" {
				size = 2048
			}
			p.mustRegister()
			publish(t, broker.URL(), 3)
			if messages, bytes := p.queue(); messages != 3 || bytes < 3*size || bytes > 3*size*1.9 {
				t.Errorf("queue holds %v messages, %v bytes", messages, bytes)
			}
			p.SetQueue(7, 8)
			if messages, bytes := p.queue(); messages != 7 || bytes != 8 {
				t.Errorf("override: %v, %v", messages, bytes)
			}
			p.ClearQueue()

			if err := p.Reset(); err != nil {
				t.Fatal(err)
			}
			if messages, _ := p.queue(); messages != 0 {
				t.Errorf("a reset left %v messages", messages)
			}

			if !broker.DeleteQueue("push_c1") {
				t.Fatal("there was no queue")
			}
			if messages, _ := p.queue(); messages != 0 {
				t.Errorf("a deleted queue holds %v messages", messages)
			}
			if err := p.Reset(); err != nil {
				t.Errorf("reset without a queue: %v", err)
			}
			p.mustRegister()
			publish(t, broker.URL(), 1)

			if err := p.DeleteConnector(); err != nil {
				t.Fatal(err)
			}
			if broker.DeleteQueue("push_c1") || broker.DeleteQueue("listen_c1") {
				t.Error("a deleted connector left its queues")
			}
			if r := p.ping("x"); r.Errors == nil {
				t.Error("a deleted connector was pinged")
			}
		})
	}
}

func TestAPlatformWithdrawsWhatItHasDeclaredAndNothingElse(t *testing.T) {
	broker := startBroker(t)
	conn, err := amqp.Dial(broker.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	there := func(exchange string) bool {
		ch, err := conn.Channel()
		if err != nil {
			t.Fatal(err)
		}
		return ch.ExchangeDeclarePassive(exchange, "direct", true, false, false, false, nil) == nil
	}
	const connectors, workers = "amqp.connector.exchange", "amqp.worker.exchange"
	first, second := start(t, openctitest.Config{Broker: broker}), start(t, openctitest.Config{Broker: broker})
	withdraw := func(p *platform) {
		if err := p.Withdraw(); err != nil {
			t.Error(err)
		}
	}
	withdraw(first) // before it has declared anything
	first.mustRegister()
	for _, id := range []string{"c2", "c3"} {
		if r := second.registerAs(id); r.Errors != nil {
			t.Fatal(r.Errors)
		}
	}
	withdraw(first)
	if broker.DeleteQueue("push_c1") || broker.DeleteQueue("listen_c1") {
		t.Error("queues stayed")
	}
	if !there(connectors) || !there(workers) {
		t.Error("exchanges are gone to which another platform's queues are bound")
	}
	first.mustRegister()
	withdraw(second)
	if broker.DeleteQueue("push_c2") || broker.DeleteQueue("push_c3") || broker.DeleteQueue("listen_c3") {
		t.Error("queues stayed")
	}
	withdraw(first)
	if !there(connectors) || !there(workers) {
		t.Error("exchanges are gone that were there before the platform")
	}
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(ch.ExchangeDelete(connectors, true, false), ch.ExchangeDelete(workers, true, false)); err != nil {
		t.Fatal(err)
	}
	first.mustRegister()
	withdraw(first)
	if there(connectors) || there(workers) {
		t.Error("exchanges stayed")
	}
}

func TestTheConnectionIsTheBrokers(t *testing.T) {
	broker, err := rabbitmqtest.Start(rabbitmqtest.Config{User: "u", Password: "p w/d", VHost: "v"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = broker.Close() }()
	p := start(t, openctitest.Config{Broker: broker})
	config := p.mustRegister().Data["registerConnector"].(map[string]any)["config"].(map[string]any)
	c := config["connection"].(map[string]any)
	if c["user"] != "u" || c["pass"] != "p w/d" || c["vhost"] != "v" || c["host"] != broker.Host() || c["port"] != float64(broker.Port()) || c["use_ssl"] != false {
		t.Errorf("connection = %v", c)
	}
	if config["push_exchange"] != "amqp.worker.exchange" || config["push_routing"] != "push_routing_c1" {
		t.Errorf("config = %v", config)
	}
}

func TestWithoutItsBrokerThePlatformRegistersNobody(t *testing.T) {
	broker := startBroker(t)
	if err := broker.Refuse(true); err != nil {
		t.Fatal(err)
	}
	p := start(t, openctitest.Config{Broker: broker})
	if r := p.register(); r.Errors == nil || len(p.Registrations()) != 0 {
		t.Errorf("registered: %+v", r)
	}
	if err := broker.Refuse(false); err != nil {
		t.Fatal(err)
	}
	p.mustRegister()
}

func TestEverythingRunsOnAClockOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker, err := rabbitmqtest.Start(rabbitmqtest.Config{InMemory: true})
		if err != nil {
			t.Fatal(err)
		}
		p, err := openctitest.New(openctitest.Config{Broker: broker, Token: token})
		if err != nil {
			t.Fatal(err)
		}
		c, err := opencti.New(opencti.Config{
			URL: "http://platform", Token: token, ConnectorID: "c1", HTTP: &http.Client{Transport: p.Transport()},
		})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		p.Fault(openctitest.Rule{Operation: "about", To: 2, Do: openctitest.Status(503, "")})
		if _, err := c.Version(t.Context()); err != nil {
			t.Error(err)
		}
		if waited := time.Since(began); waited < 300*time.Millisecond || waited > time.Second {
			t.Errorf("two pauses took %v", waited)
		}
		if _, err := c.Register(t.Context(), opencti.Registration{Name: "ThreatMatch"}); err != nil {
			t.Error(err)
		}
		if _, err := c.Watch(t.Context(), ""); err != nil {
			t.Error(err)
		}
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	})
}

// The simulated broker has classic queues only, and refuses others.
func TestQueuesAreDeclaredWithTheirType(t *testing.T) {
	for kind, refused := range map[string]bool{"": false, "quorum": true} {
		p := start(t, openctitest.Config{Broker: startBroker(t), QueueType: kind})
		r := p.ask(`mutation { registerConnector(input: {id: "c1", name: "n", type: EXTERNAL_IMPORT}) { id } }`, nil)
		if got := len(r.Errors) > 0; got != refused {
			t.Errorf("type %q: %+v", kind, r)
		}
	}
}
