package rabbitmqtest

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	amqp "github.com/rabbitmq/amqp091-go"
)

func texts(messages []Message) (all []string) {
	for _, m := range messages {
		all = append(all, string(m.Body))
	}
	return all
}

func publisherTo(t *testing.T, b *Broker) *publisher {
	t.Helper()
	ch := open(t, dial(t, b.URL()))
	declare(t, ch, "q")
	return confirming(t, ch)
}

func TestAMessageShowsWhatThePublisherSent(t *testing.T) {
	b := start(t, Config{User: "us:er", Password: "p@ss/word", VHost: "/a b"})
	p := publisherTo(t, b)
	publishAll(t, p, "", "q", "body")
	want := []Message{{
		RoutingKey: "q", Body: []byte("body"), DeliveryMode: 2, ContentType: "application/json", ContentEncoding: "utf-8",
		Mandatory: true,
	}}
	if diff := cmp.Diff(want, b.Messages("q")); diff != "" {
		t.Error(diff)
	}
}

func TestAQueueIsReadCountedAndDeletedFromOutside(t *testing.T) {
	b := start(t, Config{})
	p := publisherTo(t, b)
	publishAll(t, p, "", "q", "a", "bb", "ccc", "dddd")
	if diff := cmp.Diff([]string{"a", "bb"}, texts(b.Take("q", 2))); diff != "" {
		t.Error(diff)
	}
	if n, bytes := b.Depth("q"); n != 2 || bytes != 7 {
		t.Errorf("depth %d, %d bytes", n, bytes)
	}
	if d, ok, err := p.Get("q", true); err != nil || !ok || string(d.Body) != "ccc" || d.MessageCount != 1 {
		t.Errorf("got %+v, %v, %v", d, ok, err)
	}
	if diff := cmp.Diff([]string{"dddd"}, texts(b.Take("q", 9))); diff != "" {
		t.Error(diff)
	}
	if !b.DeleteQueue("q") || b.DeleteQueue("q") {
		t.Error("a queue is deleted once")
	}
	p.answer(t, "", "q", "e")
	if len(p.returns) != 1 || b.Published() != 5 {
		t.Errorf("%d returns, %d published", len(p.returns), b.Published())
	}
}

func TestADiscardingBrokerCountsWithoutKeeping(t *testing.T) {
	var seen []string
	b := start(t, Config{Discard: true, OnMessage: func(m Message) { seen = append(seen, string(m.Body)) }})
	p := publisherTo(t, b)
	publishAll(t, p, "", "q", "a", "bb", "ccc")
	publishAll(t, p, "", "nowhere", "x")
	if n, bytes := b.Depth("q"); n != 3 || bytes != 6 {
		t.Errorf("depth %d, %d bytes", n, bytes)
	}
	if got := b.Take("q", 2); got != nil || len(b.Messages("q")) != 0 {
		t.Errorf("kept %v", got)
	}
	if _, ok, err := p.Get("q", true); ok || err != nil {
		t.Error(ok, err)
	}
	if n, err := p.QueuePurge("q", false); n != 3 || err != nil {
		t.Errorf("purged %d, %v", n, err)
	}
	if n, bytes := b.Depth("q"); n != 0 || bytes != 0 {
		t.Errorf("depth after a purge %d, %d bytes", n, bytes)
	}
	if diff := cmp.Diff([]string{"a", "bb", "ccc"}, seen); diff != "" {
		t.Error(diff)
	}
}

func TestAFaultStrikesItsPublishOnly(t *testing.T) {
	for name, row := range map[string]struct {
		fault            Fault
		acks             []bool
		returned         int
		channel, connect int // reply codes, -1 for an end without one
		stored           []string
	}{
		"nack":             {fault: Nack, acks: []bool{true, false, true, true}, stored: []string{"1", "3", "4"}},
		"return":           {fault: Return, acks: []bool{true, true, true, true}, returned: 1, stored: []string{"1", "3", "4"}},
		"drop before":      {fault: DropBefore, acks: []bool{true}, connect: -1, stored: []string{"1"}},
		"drop after":       {fault: DropAfter, acks: []bool{true}, connect: -1, stored: []string{"1", "2"}},
		"close channel":    {fault: CloseChannel, acks: []bool{true}, channel: 406, stored: []string{"1"}},
		"withhold confirm": {fault: WithholdConfirm, acks: []bool{true}, stored: []string{"1", "2", "3", "4"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, Config{})
			conn := dial(t, b.URL())
			lost := conn.NotifyClose(make(chan *amqp.Error, 1))
			ch := open(t, conn)
			declare(t, ch, "q")
			p := confirming(t, ch)
			b.FaultAt(2, row.fault)
			publishAll(t, p, "", "q", "1")
			for i := 2; i <= 4; i++ {
				_ = p.Publish("", "q", true, false, amqp.Publishing{Body: fmt.Append(nil, i)}) // fails once the end is known
			}
			switch {
			case row.connect != 0:
				if e := receive(t, lost, "end of the connection"); e == nil || e.Code == amqp.ConnectionForced {
					t.Errorf("connection ended with %v", e)
				}
			case row.channel != 0:
				if e := receive(t, p.closed, "channel.close"); e == nil || e.Code != row.channel {
					t.Errorf("channel closed with %v", e)
				}
			default:
				for i, want := range row.acks[1:] {
					if c := p.confirmed(t); c.Ack != want || c.DeliveryTag != uint64(i+2) {
						t.Errorf("confirm %+v, want %v", c, want)
					}
				}
				// An answer on the same channel comes after all confirms that were to come.
				if _, err := p.QueueDeclarePassive("q", true, false, false, false, nil); err != nil {
					t.Fatal(err)
				}
				if len(p.confirms) > 0 {
					t.Errorf("one more confirm: %+v", <-p.confirms)
				}
			}
			if len(p.returns) != row.returned {
				t.Errorf("%d returns", len(p.returns))
			}
			if diff := cmp.Diff(row.stored, texts(b.Messages("q"))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestALimitedQueueRejectsWhetherLimitedBeforeOrAfterItsDeclaration(t *testing.T) {
	b := start(t, Config{})
	b.LimitQueue("q", 1)
	p := publisherTo(t, b)
	if !p.answer(t, "", "q", "a") || p.answer(t, "", "q", "b") {
		t.Error("a limit of one does not hold")
	}
	b.LimitQueue("q", 0)
	b.Take("q", 1)
	if p.answer(t, "", "q", "c") {
		t.Error("a limit of none does not hold")
	}
	b.LimitQueue("q", -1)
	if !p.answer(t, "", "q", "d") {
		t.Error("the limit stays")
	}
}

func TestARefusingBrokerIsNotThereAndComesBackOnItsPort(t *testing.T) {
	for name, config := range map[string]Config{"socket": {}, "memory": {InMemory: true}} {
		t.Run(name, func(t *testing.T) {
			b := start(t, config)
			connect := func() (*amqp.Connection, error) {
				if config.InMemory {
					return amqp.DialConfig(b.URL(), amqp.Config{Dial: b.Dial})
				}
				return amqp.Dial(b.URL())
			}
			for range 2 {
				if err := b.Refuse(true); err != nil {
					t.Fatal(err)
				}
				if _, err := connect(); !errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("dial: %v", err)
				}
				if err := b.Refuse(false); err != nil {
					t.Fatal(err)
				}
				conn, err := connect()
				if err != nil {
					t.Fatal(err)
				}
				if err := conn.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestLoginsFailWhileTheyAreRefused(t *testing.T) {
	b := start(t, Config{})
	b.RefuseAuth(true)
	if _, err := amqp.Dial(b.URL()); !errors.Is(err, amqp.ErrCredentials) {
		t.Errorf("login: %v", err)
	}
	b.RefuseAuth(false)
	dial(t, b.URL())
}

func TestNothingIsStoredAfterADrop(t *testing.T) {
	b := start(t, Config{})
	p := publisherTo(t, b)
	body := make([]byte, 1000)
	flood := make(chan struct{})
	go func() {
		defer close(flood)
		for p.Publish("", "q", false, false, amqp.Publishing{Body: body}) == nil {
		}
	}()
	for b.Published() < 1000 {
		receive(t, p.confirms, "confirm")
	}
	b.Drop()
	before, _ := b.Depth("q")
	<-flood
	if after, _ := b.Depth("q"); after != before {
		t.Errorf("%d messages grew to %d", before, after)
	}
}

func TestWhatTheBrokerCannotDoItSays(t *testing.T) {
	const x = "x"
	b := start(t, Config{})
	publisherTo(t, b)
	for name, ask := range map[string]func(*amqp.Channel) error{
		"consume": func(ch *amqp.Channel) error {
			_, err := ch.Consume("q", "", true, false, false, false, nil)
			return err
		},
		"get with an acknowledgement": func(ch *amqp.Channel) error { _, _, err := ch.Get("q", false); return err },
		"limit deliveries":            func(ch *amqp.Channel) error { return ch.Qos(1, 0, false) },
		"transaction":                 (*amqp.Channel).Tx,
		"queue with arguments": func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare(x, true, false, false, false, amqp.Table{"x-max-length": 1})
			return err
		},
		"transient queue": func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare(x, false, false, false, false, nil)
			return err
		},
		"auto-delete queue": func(ch *amqp.Channel) error { _, err := ch.QueueDeclare(x, true, true, false, false, nil); return err },
		"exclusive queue":   func(ch *amqp.Channel) error { _, err := ch.QueueDeclare(x, true, false, true, false, nil); return err },
		"queue without a name": func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare("", true, false, false, false, nil)
			return err
		},
		"delete if empty":       func(ch *amqp.Channel) error { _, err := ch.QueueDelete("q", false, true, false); return err },
		"unbind":                func(ch *amqp.Channel) error { return ch.QueueUnbind("q", "k", "amq.direct", nil) },
		"bind with arguments":   func(ch *amqp.Channel) error { return ch.QueueBind("q", "k", "amq.direct", false, amqp.Table{x: x}) },
		"fanout":                func(ch *amqp.Channel) error { return ch.ExchangeDeclare(x, "fanout", true, false, false, false, nil) },
		"transient exchange":    func(ch *amqp.Channel) error { return ch.ExchangeDeclare(x, "direct", false, false, false, false, nil) },
		"delete of an exchange": func(ch *amqp.Channel) error { return ch.ExchangeDelete("amq.direct", false, false) },
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, b.URL())
			wantCode(t, name, ask(open(t, conn)), amqp.NotImplemented)
			if !conn.IsClosed() {
				t.Error("the connection stands")
			}
		})
	}
}

func TestACallbackMayUseTheBroker(t *testing.T) {
	var b *Broker
	b = start(t, Config{OnMessage: func(m Message) {
		if n, last := len(b.Messages("q")), texts(b.Messages("q")); last[n-1] != string(m.Body) {
			t.Errorf("the queue holds %q at message %s", last, m.Body)
		}
		if b.Published() == 3 {
			b.Drop()
		}
	}})
	p := publisherTo(t, b)
	publishAll(t, p, "", "q", "a", "b")
	p.send(t, "", "q", "c")
	receive(t, p.closed, "end of the channel")
	if n, _ := b.Depth("q"); n != 3 {
		t.Errorf("depth %d", n)
	}
}

func TestAClosedBrokerKeepsItsQueuesReadable(t *testing.T) {
	b := start(t, Config{})
	p := publisherTo(t, b)
	publishAll(t, p, "", "q", "a")
	b.Block("blocked brokers close too")
	p.send(t, "", "q", "b")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a"}, texts(b.Messages("q"))); diff != "" {
		t.Error(diff)
	}
	if _, err := amqp.Dial(b.URL()); err == nil {
		t.Error("a closed broker took a connection")
	}
}

func TestHeartbeatsKeepAnIdleConnectionAndASilentOneIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := Start(Config{InMemory: true})
		if err != nil {
			t.Fatal(err)
		}
		conn, err := amqp.DialConfig(b.URL(), amqp.Config{Dial: b.Dial, Heartbeat: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		silent := greet(t, b)
		synctest.Wait()
		began := time.Now()
		time.Sleep(time.Hour)
		if conn.IsClosed() {
			t.Error("an idle connection was lost")
		}
		select {
		case end := <-silent:
			if after := end.Sub(began); after < 15*time.Second || after > time.Minute {
				t.Errorf("a silent client was cut after %v", after)
			}
		default:
			t.Error("a silent client was not cut")
		}
		if err := errors.Join(conn.Close(), b.Close()); err != nil {
			t.Error(err)
		}
	})
}

// greet logs a client in that agrees to a heartbeat every 10 s, keeps none, and says when it was cut.
func greet(t *testing.T, b *Broker) <-chan time.Time {
	t.Helper()
	nc, err := b.Dial("", "")
	if err != nil {
		t.Fatal(err)
	}
	end := make(chan time.Time, 1)
	go func() {
		buf := make([]byte, 4096)
		for {
			if _, err := nc.Read(buf); err != nil {
				end <- time.Now()
				_ = nc.Close()
				return
			}
		}
	}()
	if _, err := nc.Write(greeting(10)); err != nil {
		t.Fatal(err)
	}
	return end
}
