package fetch

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// largeItems serves items of sizes of their own, step by step.
type largeItems struct {
	sizes map[string]int64
	step  int64
	books *heldBytes

	mu     sync.Mutex
	held   map[string]int64
	served map[string]int // requests
}

// heldBytes counts what was served and nobody has let go yet.
type heldBytes struct {
	mu        sync.Mutex
	sum, peak int64
}

func (h *heldBytes) add(n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sum += n
	h.peak = max(h.peak, h.sum)
}

func (s *largeItems) Now() time.Time       { return time.Unix(1e9, 0) }
func (s *largeItems) Ahead() time.Duration { return 0 }

func (s *largeItems) List(context.Context, string, time.Time) (ids []string, err error) {
	for id := range s.sizes {
		ids = append(ids, id)
	}
	return ids, nil
}

func (s *largeItems) ItemWithin(ctx context.Context, _, id string, grow func(int64) error) (item threatmatch.Item, err error) {
	s.mu.Lock()
	s.served[id]++
	s.mu.Unlock()
	for size := int64(0); size < s.sizes[id]; {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			s.hold(id, 0)
			return item, ctx.Err()
		}
		size = min(size+s.step, s.sizes[id])
		s.hold(id, size)
		if err := grow(size); err != nil {
			s.hold(id, 0)
			return item, fmt.Errorf("read answer: %w", err)
		}
	}
	item.Objects = make(json.RawMessage, s.sizes[id])
	return item, nil
}

// hold notes that so much of an item is held.
func (s *largeItems) hold(id string, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.books.add(size - s.held[id])
	s.held[id] = size
}

// TestWhatIsFetchedAheadStaysWithinItsRoom lets several sources with items of any size share a room while what takes their
// pages dawdles: everything comes, in order, and what is held at a time is no more than the room and, for each source, its page
// and the item whose turn it is.
func TestWhatIsFetchedAheadStaysWithinItsRoom(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const room, step = 4000, 100
		largest, books := int64(0), new(heldBytes)
		most := rapid.SampledFrom([]int64{1000, 2000, 9000}).Draw(rt, "largest item")
		draw := func(label string) *largeItems {
			s := &largeItems{sizes: map[string]int64{}, step: step, books: books, held: map[string]int64{}, served: map[string]int{}}
			for i := range rapid.IntRange(20, 60).Draw(rt, label) {
				size := rapid.OneOf(rapid.Int64Range(1, 50), rapid.Int64Range(most/2, most)).Draw(rt, "size")
				s.sizes[fmt.Sprint(i+1)] = size
				largest = max(largest, size)
			}
			return s
		}
		servers := []*largeItems{draw("items"), draw("items of another")}
		pause := time.Duration(rapid.IntRange(0, 200).Draw(rt, "pause")) * time.Millisecond
		left := int64(0)
		synctest.Test(t, func(*testing.T) {
			shared := NewRoom(room)
			var sources sync.WaitGroup
			for _, s := range servers {
				sources.Go(func() { takePages(rt, s, shared, pause) })
			}
			sources.Wait()
			left = shared.taken
		})
		if own := room/pageParts + 2*(largest+step); books.peak > room+2*own {
			rt.Errorf("%d bytes were held, with items of %d at most and a room of %d", books.peak, largest, room)
		}
		if left != 0 {
			rt.Errorf("%d bytes of the room are not given back", left)
		}
	})
}

func takePages(rt *rapid.T, s *largeItems, room *Room, pause time.Duration) {
	var came []string
	for page, err := range Items(s, "profiles", Options{Room: room}).Pages(context.Background(), pipeline.Cursor{}) {
		if err != nil {
			rt.Errorf("%v", err)
		}
		time.Sleep(pause)
		for _, item := range page.Items {
			came = append(came, item.ID)
			s.hold(item.ID, 0)
		}
	}
	if want := numbers(1, len(s.sizes)); !slices.Equal(came, want) {
		rt.Errorf("%v came, want %v", came, want)
	}
	for id, n := range s.served {
		if n > 2 {
			rt.Errorf("item %s was asked for %d times", id, n)
		}
	}
}
