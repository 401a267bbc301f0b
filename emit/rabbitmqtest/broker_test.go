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
	declare(t, ch, "q", nil)
	return confirming(t, ch)
}

func TestAMessageShowsWhatThePublisherSent(t *testing.T) {
	b := start(t, Config{User: "us:er", Password: "p@ss/word", VHost: "/a b"})
	p := publisherTo(t, b)
	publishAll(t, p, "", "q", "body")
	want := []Message{{
		RoutingKey: "q", Body: []byte("body"), DeliveryMode: 2, ContentType: "application/json", ContentEncoding: "utf-8",
		Mandatory: true, Number: 1,
	}}
	if diff := cmp.Diff(want, b.Messages("q")); diff != "" {
		t.Error(diff)
	}
}

func TestAQueueIsReadCountedAndEmptiedFromOutside(t *testing.T) {
	b := start(t, Config{})
	p := publisherTo(t, b)
	publishAll(t, p, "", "q", "a", "bb", "ccc", "dddd")
	if diff := cmp.Diff([]string{"a", "bb"}, texts(b.Take("q", 2))); diff != "" {
		t.Error(diff)
	}
	if n, bytes := b.Depth("q"); n != 2 || bytes != 7 {
		t.Errorf("depth %d, %d bytes", n, bytes)
	}
	if _, ok, err := p.Get("q", false); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if n, bytes := b.Depth("q"); n != 2 || bytes != 7 {
		t.Errorf("depth with one delivered: %d, %d bytes", n, bytes)
	}
	if n := b.Purge("q"); n != 1 {
		t.Errorf("purged %d", n)
	}
	if !b.HasQueue("q") || !b.DeleteQueue("q") || b.DeleteQueue("q") || b.HasQueue("q") {
		t.Error("a queue is deleted once")
	}
	p.answer(t, "", "q", "e")
	if len(p.returns) != 1 || b.Published() != 5 {
		t.Errorf("%d returns, %d published", len(p.returns), b.Published())
	}
}

func TestADiscardingBrokerCountsWithoutKeeping(t *testing.T) {
	var seen []string
	b := start(t, Config{Discard: true, OnMessage: func(m Message) { seen = append(seen, fmt.Sprint(m.Number, string(m.Body))) }})
	p := publisherTo(t, b)
	publishAll(t, p, "", "q", "a", "bb", "ccc")
	publishAll(t, p, "", "nowhere", "x")
	if n, bytes := b.Depth("q"); n != 3 || bytes != 6 {
		t.Errorf("depth %d, %d bytes", n, bytes)
	}
	if got := b.Take("q", 2); got != nil || len(b.Messages("q")) != 0 {
		t.Errorf("kept %v", got)
	}
	if n, bytes := b.Depth("q"); n != 1 || bytes != 3 {
		t.Errorf("depth after take %d, %d bytes", n, bytes)
	}
	if _, ok, err := p.Get("q", true); ok || err != nil {
		t.Error(ok, err)
	}
	_, err := p.Consume("q", "", true, false, false, false, nil)
	wantCode(t, "consume", err, amqp.NotImplemented)
	if diff := cmp.Diff([]string{"1a", "2bb", "3ccc"}, seen); diff != "" {
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
			declare(t, ch, "q", nil)
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
	b.Purge("q")
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

func TestAChannelIsAskedToStopAndToResume(t *testing.T) {
	b := start(t, Config{})
	ch := open(t, dial(t, b.URL()))
	asked := ch.NotifyFlow(make(chan bool, 2))
	for _, active := range []bool{false, true} {
		b.Flow(active)
		if got := receive(t, asked, "channel.flow"); got != active {
			t.Errorf("asked for %v", got)
		}
	}
	declare(t, ch, "q", nil) // the answers to it did no harm
}

func TestACallbackMayUseTheBroker(t *testing.T) {
	var b *Broker
	b = start(t, Config{OnMessage: func(m Message) {
		if n, _ := b.Depth("q"); n != m.Number {
			t.Errorf("depth %d at message %d", n, m.Number)
		}
		if m.Number == 3 {
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
