package endtoend

import (
	"context"
	"strconv"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

func numberText(n int64) string { return strconv.FormatInt(n, 10) }

// deleteEmpty deletes a queue of the node at a moment at which nothing is in it, and reports whether it could.
func deleteEmpty(t *testing.T, node *rabbitmqtest.Node, queue string) bool {
	t.Helper()
	conn, err := amqp.Dial(node.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	_, err = ch.QueueDelete(queue, false, true, false)
	return err == nil
}

func TestADeletedQueueIsDeclaredAgain(t *testing.T) {
	data := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 13, Profiles: 150, Alerts: 150, Indicators: 3000})
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data, Latency: 60 * time.Millisecond}, realBroker: true})
	p := w.start()
	registered := 0
	for _, n := range []int{100, 200} {
		eventually(t, time.Minute, "items are fetched", func() bool { return w.api.Count("/api/stix/*") >= n })
		registered = max(registered, len(w.platform.Registrations()))
		eventually(t, time.Minute, "the queue is empty and goes", func() bool { w.take(); return deleteEmpty(t, w.node, w.queue()) })
		eventually(t, time.Minute, "the connector registers again", func() bool { return len(w.platform.Registrations()) > registered })
	}
	p.wants(exitOK, time.Minute)
	w.take()
	all := w.everTaken()
	checkOrder(t, all)
	checkHeld(t, all, held(t, data, defaultMapping))
	if _, repeats := byID(all); repeats > 0 {
		t.Logf("%d objects came twice", repeats)
	}
	if work := w.lastWork(); work.Closed != 1 || work.InError || work.Expected < len(all) {
		t.Errorf("the work is %+v, %d messages", work, len(all))
	}
}

func TestABrokerThatRestartsKeepsWhatItHasConfirmed(t *testing.T) {
	for name, stop := range map[string]func(*rabbitmqtest.Node, context.Context) error{
		"in good order": (*rabbitmqtest.Node).Stop,
		"killed":        func(n *rabbitmqtest.Node, _ context.Context) error { return n.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			data := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 17, Profiles: 150, Alerts: 150, Indicators: 3000})
			w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data, Latency: 60 * time.Millisecond}, realBroker: true})
			p := w.start()
			eventually(t, time.Minute, "items are fetched", func() bool { return w.api.Count("/api/stix/*") >= 120 })
			eventually(t, time.Minute, "messages arrive", func() bool { return w.depth() > 100 })
			if err := stop(w.node, t.Context()); err != nil {
				t.Error(err)
			}
			pause(time.Second)
			if err := w.node.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			p.wants(exitOK, 2*time.Minute)
			messages := w.take()
			checkOrder(t, messages)
			checkHeld(t, messages, held(t, data, defaultMapping))
			_, repeats := byID(messages)
			t.Logf("%d messages, %d of them repeats; the run took %s", len(messages), repeats, p.took.Round(time.Second))
			work := w.lastWork()
			if work.Closed != 1 || work.InError || work.Expected < len(messages)-repeats {
				t.Errorf("the work is %+v, %d messages", work, len(messages))
			}
			if s := parseState(t, w.platform.State()); s.LastRun.IsZero() {
				t.Errorf("the state is %s", w.platform.State())
			}
		})
	}
}
