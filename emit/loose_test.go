package emit

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// looseTexts counts the bytes of texts that an emitter has in memory, whole ones beside those that have lost references, and of those
// that are being saved.
func looseTexts(e *Emitter, saving []index.Waiter) int {
	texts := map[*byte]int{}
	see := func(text []byte) {
		if len(text) > 0 {
			texts[&text[0]] = len(text)
		}
	}
	for _, n := range e.order.live {
		see(n.object.JSON)
		if n.lost != nil && n.lost.noted != nil {
			see(n.lost.noted.Object.JSON)
		}
	}
	for _, o := range e.shelf.omissions {
		see(o.waiter.Object.JSON)
	}
	for _, w := range saving {
		see(w.Object.JSON)
	}
	bytes := 0
	for _, size := range texts {
		bytes += size
	}
	return bytes
}

// watchedStore looks at what is in memory as it is read and written.
type watchedStore struct {
	Store
	watch func(saving []index.Waiter)
}

func (s watchedStore) Get(id string) (index.Waiter, bool, error) {
	s.watch(nil)
	return s.Store.Get(id)
}

func (s watchedStore) Save(ctx context.Context, waiters []index.Waiter) (int, error) {
	s.watch(waiters)
	return s.Store.Save(ctx, waiters)
}

func TestLargeTextsThatStopWaitingAreNotAllInMemoryAtOnce(t *testing.T) {
	const n, size, atOnce = 100, 50_000, 300_000
	filled := func(o pipeline.Object) pipeline.Object {
		o.JSON = append(o.JSON[:len(o.JSON)-1], fmt.Sprintf(`,"description":%q}`, strings.Repeat("a", size))...)
		return o
	}
	for name, tt := range map[string]struct {
		object func(i int) pipeline.Object
		sent   int
	}{
		"cleaned": {func(i int) pipeline.Object { return shapeObject("report", i, shapeID("malware", 0)) }, n},
		"held back": {func(i int) pipeline.Object {
			return shapeObject("relationship", i, shapeID("malware", 0), shapeID("malware", 1))
		}, 0},
		"in a circle": {func(i int) pipeline.Object { return shapeObject("report", i, shapeID("report", i^1)) }, n},
	} {
		t.Run(name, func(t *testing.T) {
			x, _, err := index.Open(t.Context(), t.TempDir(), index.Identity{}, index.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = x.Close() }()
			var e *Emitter
			most := 0
			watch := func(saving []index.Waiter) { most = max(most, looseTexts(e, saving)) }
			q := &ledgerQueue{t: t, at: map[string]int{}, want: map[string][]string{}, watch: func() { watch(nil) }}
			e = New(toQueue(q, Config{
				Index: x, Store: watchedStore{x.Waiting(), watch}, Durable: true, Mapping: testMapping(), Gauge: NewGauge(nil, 0, nil, zap.NewNop()), Run: 1,
				ParkedBytes: atOnce, BatchBytes: atOnce,
			}))
			for i := range n {
				if err := e.Put(t.Context(), pipeline.Item{Dataset: "profiles"}, []pipeline.Object{filled(tt.object(i))}, func(pipeline.Outcome) {}); err != nil {
					t.Fatal(err)
				}
			}
			if err := e.Finish(t.Context(), pipeline.Complete); err != nil || len(q.at) != tt.sent {
				t.Errorf("%d were sent, %v", len(q.at), err)
			}
			// What waits, what goes without references, and the whole texts of that, until it is sent and until the shelf has taken note.
			if most < atOnce || most > 5*atOnce {
				t.Errorf("%d bytes of texts were in memory at once", most)
			}
		})
	}
}
