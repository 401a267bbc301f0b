package rabbitmqtest

import (
	"errors"
	"fmt"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
	amqp "github.com/rabbitmq/amqp091-go"
)

var handshakeBehaviours = []behaviour{
	{promise: "the handshake negotiates what RabbitMQ does by default", check: func(t *testing.T, b broker) {
		conn := dial(t, b.url)
		if conn.Config.ChannelMax != 2047 || conn.Config.FrameSize != 131072 || conn.Config.Heartbeat.Seconds() != 10 {
			t.Errorf("negotiated %d channels, frames of %d, a heartbeat every %v", conn.Config.ChannelMax, conn.Config.FrameSize, conn.Config.Heartbeat)
		}
		if conn.Properties["product"] != "RabbitMQ" {
			t.Errorf("product %v", conn.Properties["product"])
		}
		capabilities, _ := conn.Properties["capabilities"].(amqp.Table)
		for _, name := range []string{"publisher_confirms", "basic.nack", "connection.blocked", "authentication_failure_close"} {
			if capabilities[name] != true {
				t.Errorf("capability %s is %v", name, capabilities[name])
			}
		}
	}},
	{promise: "a wrong password is refused", check: func(t *testing.T, b broker) {
		u, err := url.Parse(b.url)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword("guest", "not this")
		if _, err := amqp.Dial(u.String()); !errors.Is(err, amqp.ErrCredentials) {
			t.Errorf("login: %v, want %v", err, amqp.ErrCredentials)
		}
	}},
	{promise: "an unknown virtual host is refused with 530", check: func(t *testing.T, b broker) {
		_, err := amqp.DialConfig(b.url, amqp.Config{Vhost: "nowhere"})
		wantCode(t, "open", err, amqp.NotAllowed)
	}},
	{promise: "channels close and their numbers are used again", check: func(t *testing.T, b broker) {
		conn := dialConfig(t, b.url, amqp.Config{ChannelMax: 2})
		for range 5 {
			first, second := open(t, conn), open(t, conn)
			if err := errors.Join(first.Close(), second.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}},
}

var topologyBehaviours = []behaviour{
	{promise: "a passive declare counts messages and finds nothing that is not there", check: func(t *testing.T, b broker) {
		conn := dial(t, b.url)
		ch := open(t, conn)
		q := declare(t, ch, queueName(t))
		publishAll(t, confirming(t, ch), "", q, "a", "b", "c")
		state, err := ch.QueueDeclarePassive(q, true, false, false, false, nil)
		if err != nil || state.Messages != 3 || state.Consumers != 0 || state.Name != q {
			t.Errorf("passive declare: %+v, %v", state, err)
		}
		_, err = ch.QueueDeclarePassive(q+" none", true, false, false, false, nil)
		wantCode(t, "passive declare of a missing queue", err, amqp.NotFound)
		if !ch.IsClosed() {
			t.Error("the channel is still open")
		}
	}},
	{promise: "declaring what stands changes nothing", check: func(t *testing.T, b broker) {
		ch := open(t, dial(t, b.url))
		q := declare(t, ch, queueName(t))
		for i := range 3 {
			if err := ch.ExchangeDeclare(q, "direct", true, false, false, false, nil); err != nil {
				t.Fatal(err)
			}
			if state, err := ch.QueueDeclare(q, true, false, false, false, nil); err != nil || state.Messages != i {
				t.Fatalf("declared again: %+v, %v", state, err)
			}
			if err := ch.QueueBind(q, "k", q, false, nil); err != nil {
				t.Fatal(err)
			}
			publishAll(t, confirming(t, open(t, dial(t, b.url))), q, "k", fmt.Sprint(i))
		}
		if diff := cmp.Diff([]string{"0", "1", "2"}, bodies(t, ch, q)); diff != "" {
			t.Error(diff)
		}
	}},
	{promise: "an exchange is found, and deleted once no queue is bound to it", check: func(t *testing.T, b broker) {
		conn := dial(t, b.url)
		ch := open(t, conn)
		x := queueName(t)
		find := func() error { return open(t, conn).ExchangeDeclarePassive(x, "direct", true, false, false, false, nil) }
		wantCode(t, "passive declare of a missing exchange", find(), amqp.NotFound)
		if err := errors.Join(ch.ExchangeDeclare(x, "direct", true, false, false, false, nil), find()); err != nil {
			t.Fatal(err)
		}
		q := declare(t, ch, x)
		if err := ch.QueueBind(q, "k", x, false, nil); err != nil {
			t.Fatal(err)
		}
		wantCode(t, "delete of an exchange in use", open(t, conn).ExchangeDelete(x, true, false), amqp.PreconditionFailed)
		if _, err := ch.QueueDelete(q, false, false, false); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := ch.ExchangeDelete(x, true, false); err != nil {
				t.Fatal(err)
			}
		}
		wantCode(t, "passive declare of a deleted exchange", find(), amqp.NotFound)
	}},
	{promise: "the default exchange is nobody's to change", check: func(t *testing.T, b broker) {
		conn := dial(t, b.url)
		q := declare(t, open(t, conn), queueName(t))
		wantCode(t, "declare", open(t, conn).ExchangeDeclare("", "direct", true, false, false, false, nil), amqp.AccessRefused)
		wantCode(t, "bind", open(t, conn).QueueBind(q, "k", "", false, nil), amqp.AccessRefused)
		wantCode(t, "delete", open(t, conn).ExchangeDelete("", true, false), amqp.AccessRefused)
	}},
	{promise: "a bind needs both ends", check: func(t *testing.T, b broker) {
		conn := dial(t, b.url)
		q := declare(t, open(t, conn), queueName(t))
		wantCode(t, "bind to no exchange", open(t, conn).QueueBind(q, "k", q+" none", false, nil), amqp.NotFound)
		wantCode(t, "bind of no queue", open(t, conn).QueueBind(q+" none", "k", "amq.direct", false, nil), amqp.NotFound)
	}},
	{promise: "a queue gets what is bound to it, once, and an exchange all queues that are bound to it", check: func(t *testing.T, b broker) {
		ch := open(t, dial(t, b.url))
		q := declare(t, ch, queueName(t))
		other := declare(t, ch, q+" too")
		for _, key := range []string{"k1", "k2", "k1"} {
			if err := ch.QueueBind(q, q+key, "amq.direct", false, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := ch.QueueBind(other, q+"k2", "amq.direct", false, nil); err != nil {
			t.Fatal(err)
		}
		p := confirming(t, ch)
		publishAll(t, p, "amq.direct", q+"k1", "a")
		publishAll(t, p, "amq.direct", q+"k2", "b")
		publishAll(t, p, "amq.direct", q+"k3", "c")
		if diff := cmp.Diff([]string{"a", "b"}, bodies(t, ch, q)); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"b"}, bodies(t, ch, other)); diff != "" {
			t.Error(diff)
		}
		if r := receive(t, p.returns, "return"); string(r.Body) != "c" {
			t.Errorf("returned %q", r.Body)
		}
	}},
	{promise: "purge and delete say how many messages went", check: func(t *testing.T, b broker) {
		ch := open(t, dial(t, b.url))
		q := declare(t, ch, queueName(t))
		p := confirming(t, ch)
		publishAll(t, p, "", q, "a", "b")
		if n, err := ch.QueuePurge(q, false); n != 2 || err != nil {
			t.Errorf("purged %d, %v", n, err)
		}
		if got := bodies(t, ch, q); got != nil {
			t.Errorf("still there: %q", got)
		}
		publishAll(t, p, "", q, "c")
		if n, err := ch.QueueDelete(q, false, false, false); n != 1 || err != nil {
			t.Errorf("deleted %d, %v", n, err)
		}
		if n, err := ch.QueueDelete(q, false, false, false); n != 0 || err != nil {
			t.Errorf("deleted again: %d, %v", n, err)
		}
		_, err := open(t, dial(t, b.url)).QueuePurge(q, false)
		wantCode(t, "purge of a deleted queue", err, amqp.NotFound)
		_, _, err = ch.Get(q, true)
		wantCode(t, "get from a deleted queue", err, amqp.NotFound)
	}},
}
