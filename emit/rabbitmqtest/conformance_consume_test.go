package rabbitmqtest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	amqp "github.com/rabbitmq/amqp091-go"
)

var consumeBehaviours = []behaviour{
	{promise: "a consumer gets what is there and what comes, in order", check: func(t *testing.T, b broker) {
		conn := dial(t, b.url)
		ch := open(t, conn)
		q := declare(t, ch, queueName(t), nil)
		p := confirming(t, open(t, conn))
		publishAll(t, p, "", q, "a", "b")
		deliveries := consume(t, ch, q, "reader")
		publishAll(t, p, "", q, "c")
		for i, want := range []string{"a", "b", "c"} {
			d := receive(t, deliveries, "delivery")
			if string(d.Body) != want || d.DeliveryTag != uint64(i+1) || d.Redelivered || d.ConsumerTag != "reader" || d.RoutingKey != q || d.DeliveryMode != 2 {
				t.Errorf("got %+v, want %s", d, want)
			}
		}
	}},
	{promise: "a prefetch limit holds deliveries back until they are acknowledged", check: func(t *testing.T, b broker) {
		conn := dial(t, b.url)
		ch := open(t, conn)
		q := declare(t, ch, queueName(t), nil)
		publishAll(t, confirming(t, open(t, conn)), "", q, "a", "b", "c", "d", "e")
		if err := ch.Qos(2, 0, false); err != nil {
			t.Fatal(err)
		}
		deliveries := consume(t, ch, q, "")
		receive(t, deliveries, "delivery")
		second := receive(t, deliveries, "delivery")
		if state, err := open(t, conn).QueueDeclarePassive(q, true, false, false, false, nil); err != nil || state.Messages != 3 || state.Consumers != 1 {
			t.Errorf("%+v, %v: want 3 waiting and 1 consumer", state, err)
		}
		if err := second.Ack(true); err != nil {
			t.Fatal(err)
		}
		if c, d := receive(t, deliveries, "delivery"), receive(t, deliveries, "delivery"); string(c.Body)+string(d.Body) != "cd" {
			t.Errorf("got %s and %s", c.Body, d.Body)
		}
	}},
	{promise: "what a channel did not acknowledge goes back to its place when it closes", check: func(t *testing.T, b broker) {
		conn := dial(t, b.url)
		ch, other := open(t, conn), open(t, conn)
		q := declare(t, other, queueName(t), nil)
		publishAll(t, confirming(t, other), "", q, "a", "b", "c", "d")
		for range 3 {
			if _, ok, err := ch.Get(q, false); err != nil || !ok {
				t.Fatal(ok, err)
			}
		}
		if err := ch.Ack(2, false); err != nil {
			t.Fatal(err)
		}
		if err := ch.Close(); err != nil {
			t.Fatal(err)
		}
		first, _, err := other.Get(q, true)
		if err != nil || !first.Redelivered || string(first.Body) != "a" || first.MessageCount != 2 {
			t.Errorf("first: %+v, %v", first, err)
		}
		if diff := cmp.Diff([]string{"c", "d"}, bodies(t, other, q)); diff != "" {
			t.Error(diff)
		}
	}},
	{promise: "what a connection did not acknowledge goes to another when it ends", check: func(t *testing.T, b broker) {
		first, second := dial(t, b.url), open(t, dial(t, b.url))
		q := declare(t, second, queueName(t), nil)
		publishAll(t, confirming(t, second), "", q, "a", "b")
		taken := consume(t, open(t, first), q, "")
		receive(t, taken, "delivery")
		receive(t, taken, "delivery")
		deliveries := consume(t, second, q, "")
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"a", "b"} {
			if d := receive(t, deliveries, "delivery"); string(d.Body) != want || !d.Redelivered {
				t.Errorf("got %+v, want %s", d, want)
			}
		}
	}},
	{promise: "a rejected delivery is dropped or comes again", check: func(t *testing.T, b broker) {
		ch := open(t, dial(t, b.url))
		q := declare(t, ch, queueName(t), nil)
		publishAll(t, confirming(t, ch), "", q, "a", "b")
		first, _, err := ch.Get(q, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := first.Reject(false); err != nil {
			t.Fatal(err)
		}
		second, _, err := ch.Get(q, false)
		if err != nil || string(second.Body) != "b" {
			t.Fatalf("%+v, %v", second, err)
		}
		if err := second.Nack(false, true); err != nil {
			t.Fatal(err)
		}
		again, ok, err := ch.Get(q, true)
		if err != nil || !ok || !again.Redelivered || string(again.Body) != "b" {
			t.Errorf("%+v, %v", again, err)
		}
	}},
	{promise: "acknowledging what was not delivered closes the channel with 406", check: func(t *testing.T, b broker) {
		ch := open(t, dial(t, b.url))
		closed := ch.NotifyClose(make(chan *amqp.Error, 1))
		if err := ch.Ack(5, false); err != nil {
			t.Fatal(err)
		}
		if e := receive(t, closed, "channel.close"); e == nil || e.Code != amqp.PreconditionFailed {
			t.Errorf("closed with %v", e)
		}
	}},
	{promise: "a consumer is told when its queue is deleted", check: func(t *testing.T, b broker) {
		conn := dial(t, b.url)
		ch := open(t, conn)
		q := declare(t, ch, queueName(t), nil)
		cancels := ch.NotifyCancel(make(chan string, 1))
		deliveries := consume(t, ch, q, "reader")
		if _, err := open(t, conn).QueueDelete(q, false, false, false); err != nil {
			t.Fatal(err)
		}
		if tag := receive(t, cancels, "basic.cancel"); tag != "reader" {
			t.Errorf("cancelled %q", tag)
		}
		if d := receive(t, deliveries, "end of deliveries"); d.Acknowledger != nil {
			t.Errorf("delivered %+v", d)
		}
	}},
	{promise: "an exclusive consumer stays the only one", check: func(t *testing.T, b broker) {
		conn := dial(t, b.url)
		q := declare(t, open(t, conn), queueName(t), nil)
		if _, err := open(t, conn).Consume(q, "", true, true, false, false, nil); err != nil {
			t.Fatal(err)
		}
		_, err := open(t, conn).Consume(q, "", true, false, false, false, nil)
		wantCode(t, "second consumer", err, amqp.AccessRefused)
	}},
	{promise: "a cancelled consumer gets nothing more", check: func(t *testing.T, b broker) {
		conn := dial(t, b.url)
		ch := open(t, conn)
		q := declare(t, ch, queueName(t), nil)
		deliveries := consume(t, ch, q, "reader")
		if err := ch.Cancel("reader", false); err != nil {
			t.Fatal(err)
		}
		publishAll(t, confirming(t, ch), "", q, "a")
		if d, open := <-deliveries; open {
			t.Errorf("delivered %+v", d)
		}
		if diff := cmp.Diff([]string{"a"}, bodies(t, ch, q)); diff != "" {
			t.Error(diff)
		}
	}},
	{promise: "consuming from no queue is refused with 404", check: func(t *testing.T, b broker) {
		conn := dial(t, b.url)
		_, err := open(t, conn).Consume(queueName(t), "", true, false, false, false, nil)
		wantCode(t, "consume", err, amqp.NotFound)
		_, _, err = open(t, conn).Get(queueName(t), true)
		wantCode(t, "get", err, amqp.NotFound)
	}},
}

func consume(t *testing.T, ch *amqp.Channel, queue, tag string) <-chan amqp.Delivery {
	t.Helper()
	deliveries, err := ch.Consume(queue, tag, false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	return deliveries
}
