package rabbitmqtest

import (
	"errors"
	"net/url"
	"slices"
	"strings"
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
		for _, name := range []string{"publisher_confirms", "basic.nack", "connection.blocked", "consumer_cancel_notify", "authentication_failure_close"} {
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
	{promise: "AMQPLAIN is a way to log in", check: func(t *testing.T, b broker) {
		dialConfig(t, b.url, amqp.Config{SASL: []amqp.Authentication{&amqp.AMQPlainAuth{Username: "guest", Password: "guest"}}})
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
		q := declare(t, ch, queueName(t), nil)
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
		wantCode(t, "passive declare of a missing exchange",
			open(t, conn).ExchangeDeclarePassive(q, "direct", true, false, false, false, nil), amqp.NotFound)
		if err := open(t, conn).ExchangeDeclarePassive("amq.direct", "direct", true, false, false, false, nil); err != nil {
			t.Errorf("passive declare of amq.direct: %v", err)
		}
	}},
	{promise: "a different declare of what stands is refused with 406", check: func(t *testing.T, b broker) {
		conn := dial(t, b.url)
		ch := open(t, conn)
		q := declare(t, ch, queueName(t), nil)
		if err := ch.ExchangeDeclare(q, "direct", true, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
		for what, arguments := range map[string]amqp.Table{
			"a limit": {"x-max-length": int32(3)}, "an overflow": {"x-overflow": "reject-publish"},
		} {
			_, err := open(t, conn).QueueDeclare(q, true, false, false, false, arguments)
			wantCode(t, "declare with "+what, err, amqp.PreconditionFailed)
		}
		_, err := open(t, conn).QueueDeclare(q, false, false, false, false, nil)
		wantCode(t, "declare transient", err, amqp.PreconditionFailed)
		_, err = open(t, conn).QueueDeclare(q, true, true, false, false, nil)
		wantCode(t, "declare auto-delete", err, amqp.PreconditionFailed)
		_, err = open(t, conn).QueueDeclare(q, true, false, true, false, nil)
		wantCode(t, "declare exclusive", err, amqp.ResourceLocked)
		wantCode(t, "declare as fanout", open(t, conn).ExchangeDeclare(q, "fanout", true, false, false, false, nil), amqp.PreconditionFailed)
		_, err = open(t, conn).QueueDeclare(q+" wrong", true, false, false, false, amqp.Table{"x-overflow": "spill"})
		wantCode(t, "declare with an unknown overflow", err, amqp.PreconditionFailed)
		if _, err := open(t, conn).QueueDeclare(q, true, false, false, false, nil); err != nil {
			t.Errorf("the same declare again: %v", err)
		}
	}},
	{promise: "reserved names are refused with 403", check: func(t *testing.T, b broker) {
		conn := dial(t, b.url)
		_, err := open(t, conn).QueueDeclare("amq.mine", true, false, false, false, nil)
		wantCode(t, "declare queue", err, amqp.AccessRefused)
		wantCode(t, "declare exchange", open(t, conn).ExchangeDeclare("amq.mine", "direct", true, false, false, false, nil), amqp.AccessRefused)
	}},
	{promise: "an unknown type of exchange ends the connection with 503", check: func(t *testing.T, b broker) {
		err := open(t, dial(t, b.url)).ExchangeDeclare(queueName(t), "roundabout", true, false, false, false, nil)
		wantCode(t, "declare", err, amqp.CommandInvalid)
	}},
	{promise: "a bind needs both ends", check: func(t *testing.T, b broker) {
		conn := dial(t, b.url)
		q := declare(t, open(t, conn), queueName(t), nil)
		wantCode(t, "bind to no exchange", open(t, conn).QueueBind(q, "k", q+" none", false, nil), amqp.NotFound)
		wantCode(t, "bind of no queue", open(t, conn).QueueBind(q+" none", "k", "amq.direct", false, nil), amqp.NotFound)
	}},
	{promise: "a queue gets what is bound to it, once, until it is unbound", check: func(t *testing.T, b broker) {
		ch := open(t, dial(t, b.url))
		q := declare(t, ch, queueName(t), nil)
		for _, key := range []string{"k1", "k2", "k1"} {
			if err := ch.QueueBind(q, q+key, "amq.direct", false, nil); err != nil {
				t.Fatal(err)
			}
		}
		p := confirming(t, ch)
		publishAll(t, p, "amq.direct", q+"k1", "a")
		publishAll(t, p, "amq.direct", q+"k2", "b")
		if err := ch.QueueUnbind(q, q+"k1", "amq.direct", nil); err != nil {
			t.Fatal(err)
		}
		publishAll(t, p, "amq.direct", q+"k1", "c")
		publishAll(t, p, "amq.direct", q+"k2", "d")
		if diff := cmp.Diff([]string{"a", "b", "d"}, bodies(t, ch, q)); diff != "" {
			t.Error(diff)
		}
		if r := receive(t, p.returns, "return"); string(r.Body) != "c" {
			t.Errorf("returned %q", r.Body)
		}
	}},
	{promise: "a fanout reaches all its queues whatever the key", check: func(t *testing.T, b broker) {
		ch := open(t, dial(t, b.url))
		x := queueName(t)
		if err := ch.ExchangeDeclare(x, "fanout", true, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
		for _, q := range []string{x + "1", x + "2"} {
			declare(t, ch, q, nil)
			if err := ch.QueueBind(q, "any", x, false, nil); err != nil {
				t.Fatal(err)
			}
		}
		publishAll(t, confirming(t, ch), x, "other", "a")
		for _, q := range []string{x + "1", x + "2"} {
			if got := bodies(t, ch, q); !slices.Equal(got, []string{"a"}) {
				t.Errorf("%s holds %q", q, got)
			}
		}
	}},
	{promise: "purge and delete say how many messages went", check: func(t *testing.T, b broker) {
		ch := open(t, dial(t, b.url))
		q := declare(t, ch, queueName(t), nil)
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
		_, err := ch.QueuePurge(q, false)
		wantCode(t, "purge of a deleted queue", err, amqp.NotFound)
	}},
	{promise: "a queue in use or not empty can be spared", check: func(t *testing.T, b broker) {
		conn := dial(t, b.url)
		ch := open(t, conn)
		q := declare(t, ch, queueName(t), nil)
		publishAll(t, confirming(t, ch), "", q, "a")
		_, err := open(t, conn).QueueDelete(q, false, true, false)
		wantCode(t, "delete if empty", err, amqp.PreconditionFailed)
		if _, err := ch.Consume(q, "", false, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
		_, err = open(t, conn).QueueDelete(q, true, false, false)
		wantCode(t, "delete if unused", err, amqp.PreconditionFailed)
	}},
	{promise: "an exclusive queue belongs to its connection and goes with it", check: func(t *testing.T, b broker) {
		first, second := dial(t, b.url), dial(t, b.url)
		q, err := open(t, first).QueueDeclare("", false, false, true, false, nil)
		if err != nil || !strings.HasPrefix(q.Name, "amq.gen-") {
			t.Fatalf("declared %q, %v", q.Name, err)
		}
		_, err = open(t, second).QueueDeclarePassive(q.Name, false, false, true, false, nil)
		wantCode(t, "declare by another", err, amqp.ResourceLocked)
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		err = eventually(t, func() error {
			_, err := open(t, second).QueueDeclarePassive(q.Name, false, false, true, false, nil)
			return err
		}, amqp.NotFound)
		wantCode(t, "declare after its owner left", err, amqp.NotFound)
	}},
	{promise: "an auto-delete queue goes with its last consumer", check: func(t *testing.T, b broker) {
		conn := dial(t, b.url)
		ch := open(t, conn)
		q, err := ch.QueueDeclare(queueName(t), false, true, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ch.Consume(q.Name, "only", true, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
		if err := ch.Cancel("only", false); err != nil {
			t.Fatal(err)
		}
		err = eventually(t, func() error {
			_, err := open(t, conn).QueueDeclarePassive(q.Name, false, true, false, false, nil)
			return err
		}, amqp.NotFound)
		wantCode(t, "declare afterwards", err, amqp.NotFound)
	}},
}

// eventually asks until the reply code comes: a broker tidies up in the background.
func eventually(t *testing.T, ask func() error, want int) (err error) {
	t.Helper()
	for range 1000 {
		if err = ask(); code(err) == want {
			break
		}
	}
	return err
}
