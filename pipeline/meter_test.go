package pipeline

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTheMeterTellsWhereItemsStand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const items, transformers = 300, 2
		meter, free := new(Meter), make(chan struct{})
		from := source{"alerts", func(_ context.Context, _ Cursor, yield func(Page, error) bool) {
			if yield(page("alerts", 1, items), nil) {
				yield(Page{Next: ended()}, nil)
			}
		}}
		slow := sink{put: func(_ context.Context, _ Item, _ []Object, settled func(Outcome)) error {
			<-free
			settled(Delivered)
			return nil
		}}
		opened, reported := time.Now(), make(chan Report, 1)
		go func() {
			reported <- Run(t.Context(), Config{Transformers: transformers, Meter: meter}, []Source{from}, twoOfEach, slow, &store{})
		}()
		time.Sleep(time.Minute)
		synctest.Wait()

		// One item is with the sink, each transformer holds one that it cannot pass on, and both channels are full.
		const channel = 64
		got := meter.Read()
		got.Payload = Fill{}
		want := Reading{
			Fetched: 2*channel + transformers + 1, Transformed: channel + 1, Objects: 2 * (channel + 1),
			ToTransform: Fill{channel, channel}, ToEmit: Fill{channel, channel}, Oldest: map[string]time.Time{"alerts": opened},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("while the sink is slow (-want +got):\n%s", diff)
		}

		close(free)
		if report := <-reported; report.Failure() != nil {
			t.Fatal(report.Failure())
		}
		got = meter.Read()
		want = Reading{
			Fetched: items, Transformed: items, Emitted: items, Objects: 2 * items,
			ToTransform: Fill{0, channel}, ToEmit: Fill{0, channel}, Payload: Fill{0, got.Payload.Bound}, Oldest: map[string]time.Time{},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("after the run (-want +got):\n%s", diff)
		}
	})
}

func TestThePayloadOnItsWayIsMetered(t *testing.T) {
	p := newPayload(1000)
	item := Item{Data: make([]byte, 100)}
	l := newLedger(1, map[string]Cursor{"iocs": {}})
	entry, err := l.open(t.Context(), "iocs", Page{Items: []Item{item}})
	if err != nil {
		t.Fatal(err)
	}
	ticket := l.ticket("iocs", entry)
	if err := p.admit(t.Context(), item, ticket); err != nil {
		t.Fatal(err)
	}
	if used := p.used.Load(); used != int64(100*firstGrowth) {
		t.Errorf("%d bytes are on their way, want those of the item as objects", used)
	}
	ticket.settle(Parked)
	ticket.settle(Delivered)
	if used := p.used.Load(); used != 0 {
		t.Errorf("%d bytes are on their way though nothing is", used)
	}
}

// twoOfEach makes two objects of each item.
var twoOfEach = transformer(func(Item) ([]Object, error) { return make([]Object, 2), nil })
