package rabbitmqtest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	amqp "github.com/rabbitmq/amqp091-go"
)

var publishBehaviours = []behaviour{
	{promise: "every publish is confirmed and the queue keeps their order", check: func(t *testing.T, b broker) {
		ch := open(t, dial(t, b.url))
		q := declare(t, ch, queueName(t))
		if err := ch.QueueBind(q, q, "amq.direct", false, nil); err != nil {
			t.Fatal(err)
		}
		p := confirming(t, ch)
		var sent []string
		for i := range 300 {
			sent = append(sent, fmt.Sprint("message ", i))
			p.send(t, "amq.direct", q, sent[i])
		}
		for i := range sent {
			if c := p.confirmed(t); !c.Ack || c.DeliveryTag != uint64(i+1) {
				t.Fatalf("confirm %d: %+v", i+1, c)
			}
		}
		if diff := cmp.Diff(sent, bodies(t, ch, q)); diff != "" {
			t.Error(diff)
		}
	}},
	{promise: "an unroutable mandatory message is returned before it is acknowledged", check: func(t *testing.T, b broker) {
		p := confirming(t, open(t, dial(t, b.url)))
		for i := range 3 {
			body := strings.Repeat("x", i*70_000)
			if !p.answer(t, "amq.direct", "to nobody", body) {
				t.Fatal("refused")
			}
			select {
			case r := <-p.returns:
				if r.ReplyCode != 312 || r.ReplyText != "NO_ROUTE" || r.Exchange != "amq.direct" || r.RoutingKey != "to nobody" ||
					string(r.Body) != body || r.DeliveryMode != amqp.Persistent || r.ContentEncoding != "utf-8" {
					t.Errorf("returned %+v", r)
				}
			default:
				t.Fatal("acknowledged, and no return came before")
			}
		}
	}},
	{promise: "an unroutable message that is not mandatory is acknowledged and gone", check: func(t *testing.T, b broker) {
		p := confirming(t, open(t, dial(t, b.url)))
		if err := p.Publish("amq.direct", "to nobody", false, false, amqp.Publishing{Body: []byte("a")}); err != nil {
			t.Fatal(err)
		}
		if !p.confirmed(t).Ack || len(p.returns) > 0 {
			t.Error("refused or returned")
		}
	}},
	{promise: "a body of any size arrives whole", check: func(t *testing.T, b broker) {
		for _, frameSize := range []int{131072, 4096} {
			conn := dialConfig(t, b.url, amqp.Config{FrameSize: frameSize})
			ch := open(t, conn)
			q := declare(t, ch, queueName(t))
			p := confirming(t, ch)
			most := conn.Config.FrameSize - frameOverhead
			for _, size := range []int{0, 1, most - 1, most, most + 1, 2 * most, 5 << 20} {
				body := bytes.Repeat([]byte("0123456789abcdef~"), size/17+1)[:size]
				if !p.answer(t, "", q, string(body)) {
					t.Fatalf("%d bytes were refused", size)
				}
				d, ok, err := ch.Get(q, true)
				if err != nil || !ok || !bytes.Equal(d.Body, body) {
					t.Errorf("%d bytes in frames of %d: got %d, %v, %v", size, frameSize, len(d.Body), ok, err)
				}
			}
		}
	}},
	{promise: "all properties arrive as they were sent", check: func(t *testing.T, b broker) {
		ch := open(t, dial(t, b.url))
		q := declare(t, ch, queueName(t))
		sent := amqp.Publishing{
			Headers:     amqp.Table{"text": "värde", "number": int32(7), "truth": true, "inner": amqp.Table{"list": []any{"a", int64(1)}}},
			ContentType: "application/json", ContentEncoding: "utf-8", DeliveryMode: 2, Priority: 3, CorrelationId: "c",
			ReplyTo: "r", Expiration: "100000", MessageId: "m", Timestamp: time.Unix(1_700_000_000, 0), Type: "t",
			UserId: "guest", AppId: "app", Body: []byte("body"),
		}
		if err := ch.Publish("", q, true, false, sent); err != nil {
			t.Fatal(err)
		}
		d, ok, err := ch.Get(q, true)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		got := amqp.Publishing{
			Headers: d.Headers, ContentType: d.ContentType, ContentEncoding: d.ContentEncoding, DeliveryMode: d.DeliveryMode,
			Priority: d.Priority, CorrelationId: d.CorrelationId, ReplyTo: d.ReplyTo, Expiration: d.Expiration,
			MessageId: d.MessageId, Timestamp: d.Timestamp, Type: d.Type, UserId: d.UserId, AppId: d.AppId, Body: d.Body,
		}
		if diff := cmp.Diff(sent, got); diff != "" {
			t.Error(diff)
		}
	}},
	{promise: "a publish to a missing exchange closes its channel with 404 and no other", check: func(t *testing.T, b broker) {
		conn := dial(t, b.url)
		other := open(t, conn)
		q := declare(t, other, queueName(t))
		p := confirming(t, open(t, conn))
		p.send(t, "no such exchange", "k", "a")
		e := receive(t, p.closed, "channel.close")
		if e == nil || e.Code != amqp.NotFound || !strings.Contains(e.Reason, "NOT_FOUND - no exchange 'no such exchange' in vhost '/'") {
			t.Errorf("channel closed with %v", e)
		}
		publishAll(t, confirming(t, other), "", q, "b")
		publishAll(t, confirming(t, open(t, conn)), "", q, "c")
	}},
	{promise: "a full queue that rejects publishes answers nack until it has room", check: func(t *testing.T, b broker) {
		ch := open(t, dial(t, b.url))
		q := queueName(t)
		b.limited(t, ch, q, 2)
		p := confirming(t, ch)
		for i, want := range []bool{true, true, false, false} {
			if got := p.answer(t, "", q, fmt.Sprint(i)); got != want {
				t.Errorf("publish %d acknowledged: %v", i, got)
			}
		}
		if _, ok, err := ch.Get(q, true); err != nil || !ok {
			t.Fatal(ok, err)
		}
		if !p.answer(t, "", q, "4") {
			t.Error("refused although there is room again")
		}
		if diff := cmp.Diff([]string{"1", "4"}, bodies(t, ch, q)); diff != "" {
			t.Error(diff)
		}
	}},
	{promise: "what goes to a deleted queue is returned, and arrives once it is declared again", check: func(t *testing.T, b broker) {
		ch := open(t, dial(t, b.url))
		q := declare(t, ch, queueName(t))
		p := confirming(t, ch)
		bind := func() {
			if err := ch.QueueBind(q, q, "amq.direct", false, nil); err != nil {
				t.Fatal(err)
			}
		}
		bind()
		publishAll(t, p, "amq.direct", q, "a")
		if _, err := ch.QueueDelete(q, false, false, false); err != nil {
			t.Fatal(err)
		}
		publishAll(t, p, "amq.direct", q, "b")
		if len(p.returns) != 1 {
			t.Fatal("no return")
		}
		declare(t, ch, q)
		bind()
		publishAll(t, p, "amq.direct", q, "c")
		if diff := cmp.Diff([]string{"c"}, bodies(t, ch, q)); diff != "" {
			t.Error(diff)
		}
	}},
	{promise: "a message beyond the limit closes its channel with 406 and both sizes, and nothing else", check: func(t *testing.T, b broker) {
		conn := dial(t, b.url)
		ch := open(t, conn)
		q := declare(t, ch, queueName(t))
		p := confirming(t, open(t, conn))
		closed := p.NotifyClose(make(chan *amqp.Error, 1))
		publishAll(t, p, "", q, "a", strings.Repeat("b", mostBytes))
		p.send(t, "", q, strings.Repeat("c", mostBytes+1))
		_ = p.Publish("", q, true, false, amqp.Publishing{Body: []byte("d")}) // fails where the end is known already
		e := receive(t, closed, "channel.close")
		if want := fmt.Sprintf("PRECONDITION_FAILED - message size %d is larger than configured max size %d", mostBytes+1, mostBytes); e == nil || e.Code != amqp.PreconditionFailed || e.Reason != want {
			t.Errorf("closed with %v, want %q", e, want)
		}
		if got := bodies(t, ch, q); len(got) != 2 || got[0] != "a" || len(got[1]) != mostBytes {
			t.Errorf("the queue holds %d messages", len(got))
		}
	}},
	{promise: "immediate is not implemented: 540", check: func(t *testing.T, b broker) {
		conn := dial(t, b.url)
		closed := conn.NotifyClose(make(chan *amqp.Error, 1))
		if err := open(t, conn).Publish("", "q", false, true, amqp.Publishing{}); err != nil {
			t.Fatal(err)
		}
		if e := receive(t, closed, "connection.close"); e == nil || e.Code != amqp.NotImplemented {
			t.Errorf("closed with %v", e)
		}
	}},
}

var outageBehaviours = []behaviour{
	{promise: "a publisher is told of an alarm and goes on after it", alone: true, check: func(t *testing.T, b broker) {
		conn := dial(t, b.url)
		ch := open(t, conn)
		q := declare(t, ch, queueName(t))
		p := confirming(t, ch)
		notices := conn.NotifyBlocked(make(chan amqp.Blocking, 2))
		publishAll(t, p, "", q, "a")
		b.block(t)
		if len(notices) > 0 {
			t.Error("told before it published")
		}
		p.send(t, "", q, "b")
		if n := receive(t, notices, "connection.blocked"); !n.Active || n.Reason != "low on memory" {
			t.Errorf("told %+v", n)
		}
		if len(p.confirms) > 0 {
			t.Error("confirmed while blocked")
		}
		b.unblock(t)
		if n := receive(t, notices, "connection.unblocked"); n.Active {
			t.Errorf("told %+v", n)
		}
		if !p.confirmed(t).Ack {
			t.Error("refused")
		}
		if diff := cmp.Diff([]string{"a", "b"}, bodies(t, ch, q)); diff != "" {
			t.Error(diff)
		}
	}},
	{promise: "an operator closes connections with 320", alone: true, check: func(t *testing.T, b broker) {
		conn := dial(t, b.url)
		closed := conn.NotifyClose(make(chan *amqp.Error, 1))
		b.closeAll(t, "maintenance")
		if e := receive(t, closed, "connection.close"); e == nil || e.Code != amqp.ConnectionForced || !strings.Contains(e.Reason, "CONNECTION_FORCED - maintenance") {
			t.Errorf("closed with %v", e)
		}
	}},
	{promise: "a lost connection is an error to the client, and what was confirmed stays", alone: true, check: func(t *testing.T, b broker) {
		lose(t, b.url, b.drop)
	}},
	{promise: "what was confirmed outlives a crash of the broker", alone: true, check: func(t *testing.T, b broker) {
		lose(t, b.url, b.restarting)
	}},
}

func lose(t *testing.T, url string, happen func(*testing.T)) {
	conn := dial(t, url)
	ch := open(t, conn)
	q := declare(t, ch, queueName(t))
	p := confirming(t, ch)
	closed := conn.NotifyClose(make(chan *amqp.Error, 1))
	publishAll(t, p, "", q, "a", "b")
	happen(t)
	if e := receive(t, closed, "end of the connection"); e == nil {
		t.Error("the client took it for an orderly end")
	}
	again := open(t, dial(t, url))
	if diff := cmp.Diff([]string{"a", "b"}, bodies(t, again, q)); diff != "" {
		t.Error(diff)
	}
}
