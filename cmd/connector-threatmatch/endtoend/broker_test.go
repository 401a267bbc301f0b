package endtoend

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

func numberText(n int64) string { return strconv.FormatInt(n, 10) }

func TestADeletedQueueIsDeclaredAgain(t *testing.T) {
	data := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 13, Profiles: 60, Alerts: 60})
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}, realBroker: true})
	g := w.itemGate(data, 20)
	p := w.start()
	for _, next := range []int{40, 60} {
		g.settles(w, data) // a message on its way into a queue that goes would go with it, confirmed
		w.take()
		registered := len(w.platform.Registrations())
		if err := w.node.DeleteQueue(t.Context(), w.queue()); err != nil {
			t.Fatal(err)
		}
		g.move(next)
		eventually(t, "the connector registers again", func() bool { return len(w.platform.Registrations()) > registered })
	}
	p.wants(exitOK)
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
		"killed": func(n *rabbitmqtest.Node, ctx context.Context) error {
			return errors.Join(n.WriteDownQueues(ctx), n.Kill())
		},
	} {
		t.Run(name, func(t *testing.T) {
			data := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 17, Profiles: 100, Alerts: 100, Indicators: 2000})
			w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}, realBroker: true})
			g := w.itemGate(data, 60)
			p := w.start()
			g.awaits(t, 2*concurrency)
			eventually(t, "messages arrive", func() bool { return w.depth() > 100 })
			if err := stop(w.node, t.Context()); err != nil {
				t.Error(err)
			}
			g.lift()
			p.awaits("cannot deliver to the broker")
			if err := w.node.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			p.wants(exitOK)
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
