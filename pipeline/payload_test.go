package pipeline

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// sized is a source of items of any size up to the largest, on pages of a few.
func sized(name string, random *rand.Rand, items int, largest int) source {
	return source{name, func(_ context.Context, _ Cursor, yield func(Page, error) bool) {
		for n := 0; n < items; {
			page := Page{Next: at(strconv.Itoa(n))}
			for range 1 + random.IntN(8) {
				n++
				page.Items = append(page.Items, Item{Dataset: name, ID: strconv.Itoa(n), Data: make(json.RawMessage, random.IntN(largest))})
			}
			if !yield(page, nil) {
				return
			}
		}
		yield(Page{Next: ended()}, nil)
	}}
}

// TestThePayloadUnderWayStaysBounded lets two sources of items of any size, some of them larger than the bound, feed a sink
// that keeps all until it is told to hurry: everything passes, and no more is under way than the bound, or one item alone.
func TestThePayloadUnderWayStaysBounded(t *testing.T) {
	const most, largest = 100_000, 150_000
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			var (
				mu              sync.Mutex
				underWay, items int
				peak            int
				kept            []func()
			)
			transform := transformer(func(i Item) ([]Object, error) {
				// Every byte stays a byte, so that the bound is exact.
				return []Object{{ID: i.ID, JSON: make(json.RawMessage, max(0, len(i.Data)-beside))}}, nil
			})
			take := func(_ context.Context, _ Item, objects []Object, settled func(Outcome)) error {
				mu.Lock()
				defer mu.Unlock()
				size := len(objects[0].JSON) + beside
				underWay += size
				peak = max(peak, underWay)
				items++
				kept = append(kept, func() { underWay -= size; settled(Delivered) })
				return nil
			}
			deliver := func() {
				mu.Lock()
				defer mu.Unlock()
				for _, settle := range kept {
					settle()
				}
				kept = nil
			}
			s := sink{put: take,
				hurry:  func(context.Context) error { deliver(); return nil },
				finish: func(context.Context, End) error { deliver(); return nil },
			}
			sources := []Source{sized("a", random, 100, largest), sized("b", rand.New(rand.NewPCG(seed, 1)), 100, largest)}
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			if err := Run(ctx, Config{Payload: most}, sources, transform, s, &store{}).Failure(); err != nil {
				t.Fatal(err)
			}
			if items < 200 || peak > largest+beside {
				t.Errorf("%d items passed, with %d bytes under way at a time, want %d at most", items, peak, largest+beside)
			}
		})
	}
}

// TestWhatObjectsReferToCountsAsPayload admits the less at a time the more of its bytes are references: each takes more as one than
// in the text.
func TestWhatObjectsReferToCountsAsPayload(t *testing.T) {
	const size, refs = 100_000, 2000
	p := newPayload(1 << 30)
	for range 100 { // until what it began with has worn off
		p.learn(size, []Object{{JSON: make(json.RawMessage, size), Refs: make([]string, refs)}})
	}
	var of ticket
	if err := p.admit(t.Context(), Item{Data: make(json.RawMessage, size)}, &of); err != nil {
		t.Fatal(err)
	}
	if used := p.used.Load(); used < size+refs*48 || used > size+refs*100 {
		t.Errorf("an item of %d bytes with %d references counts as %d bytes", size, refs, used)
	}
}

// TestSmallItemsPassWhereLargeOnesWaitForRoom keeps a large item in the sink, behind which another one waits for room, until the
// small ones of another source have come.
func TestSmallItemsPassWhereLargeOnesWaitForRoom(t *testing.T) {
	const small = 20
	synctest.Test(t, func(t *testing.T) {
		of := func(name string, items, size int, after time.Duration) source {
			return source{name, func(ctx context.Context, _ Cursor, yield func(Page, error) bool) {
				page := Page{Next: ended()}
				for n := range items {
					page.Items = append(page.Items, Item{Dataset: name, ID: strconv.Itoa(n), Data: make(json.RawMessage, size)})
				}
				if pause(ctx, after) {
					yield(page, nil)
				}
			}}
		}
		came, passed := 0, 0
		var kept []func(Outcome)
		s := sink{
			put: func(_ context.Context, i Item, _ []Object, settled func(Outcome)) error {
				if i.Dataset == "small" {
					came++
					settled(Delivered)
				} else {
					kept = append(kept, settled)
				}
				if came == small {
					passed = len(kept)
					for _, settle := range kept {
						settle(Delivered)
					}
					kept = nil
				}
				return nil
			},
			hurry:  func(context.Context) error { return nil },
			finish: func(context.Context, End) error { return nil },
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		sources := []Source{of("large", 3, 1_000_000, 0), of("small", small, 100, time.Second)}
		transform := transformer(func(i Item) ([]Object, error) { return []Object{{ID: i.ID, JSON: i.Data}}, nil })
		if err := Run(ctx, Config{Payload: 1_000_000}, sources, transform, s, &store{}).Failure(); err != nil || passed != 1 {
			t.Errorf("%v: %d small items came, while %d large ones were under way", err, came, passed)
		}
	})
}
