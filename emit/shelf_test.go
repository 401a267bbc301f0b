package emit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

const (
	hubText   = `{"type":"malware","id":"malware--1"}`
	spokeText = `{"type":"report","id":"report--1","modified":"2026-01-01T00:00:01Z","object_refs":["malware--1"]}`
	linkText  = `{"type":"relationship","id":"relationship--1","modified":"2026-01-01T00:00:01Z","source_ref":"malware--1","target_ref":"tool--1"}`
	toolText  = `{"type":"tool","id":"tool--1"}`
)

func isDelivered(outcomes *[]pipeline.Outcome) bool {
	return slices.Contains(*outcomes, pipeline.Delivered)
}

func TestWhatHasWaitedForAWhileIsPutOnDiskAndItsPageGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(1, memoryIndex{}, newMemoryStore(), nil)
		outcomes := r.put(t, object(t, spokeText), object(t, toolText))
		if !slices.Equal(*outcomes, nil) {
			t.Errorf("settled as %v while the tool is under way", *outcomes)
		}
		time.Sleep(time.Second)
		_ = r.Tick(t.Context())
		if len(r.waiting.byID) > 0 {
			t.Error("put on disk at once; mostly the rest of the item brings what it waits for")
		}
		time.Sleep(2 * time.Second)
		if err := r.Tick(t.Context()); err != nil {
			t.Fatal(err)
		}
		if w, found, _ := r.waiting.Get("report--1"); !found || w.Kind != index.Parked || !slices.Equal(w.Missing, []string{"malware--1"}) || w.Dataset != "profiles" {
			t.Errorf("on disk: %v, %+v", found, w)
		}
		if want := []pipeline.Outcome{pipeline.Kept}; !slices.Equal(*outcomes, want) {
			t.Errorf("settled as %v, want %v", *outcomes, want)
		}
		r.put(t, object(t, hubText))
		r.finish(t, pipeline.Complete)
		if want := []pipeline.Outcome{pipeline.Kept, pipeline.Delivered}; !slices.Equal(*outcomes, want) {
			t.Errorf("settled as %v, want %v", *outcomes, want)
		}
		if len(r.waiting.byID) > 0 {
			t.Error("delivered objects stay on disk")
		}
	})
}

// readCounter counts what is read from disk.
type readCounter struct {
	*index.Waiting
	read int
}

func (s *readCounter) count(waiters iter.Seq2[index.Waiter, error]) iter.Seq2[index.Waiter, error] {
	return func(yield func(index.Waiter, error) bool) {
		for w, err := range waiters {
			s.read++
			if !yield(w, err) {
				return
			}
		}
	}
}

func (s *readCounter) Get(id string) (index.Waiter, bool, error) {
	w, there, err := s.Waiting.Get(id)
	if there || err != nil {
		s.read++
	}
	return w, there, err
}

func (s *readCounter) Arrive(ref index.Key) iter.Seq2[index.Waiter, error] {
	return s.count(s.Waiting.Arrive(ref))
}

func (s *readCounter) TakePartial(most int) iter.Seq2[index.Waiter, error] {
	return s.count(s.Waiting.TakePartial(most))
}

func (s *readCounter) Restart(counts func(index.Key) bool) iter.Seq2[index.Waiter, error] {
	return s.count(s.Waiting.Restart(counts))
}

func (s *readCounter) All(kinds ...index.WaiterKind) iter.Seq2[index.Waiter, error] {
	return s.count(s.Waiting.All(kinds...))
}

// TestAnObjectThatWaitsForManyIsReadOnce lets what a report of an earlier run goes without come one by one, and what one of the
// run under way waits for: all of it, or all but the last.
func TestAnObjectThatWaitsForManyIsReadOnce(t *testing.T) {
	const many = 2000
	tool := func(i int) string { return fmt.Sprintf("tool--%d", i) }
	var refs []string
	for i := range many {
		refs = append(refs, strconv.Quote(tool(i)))
	}
	wide := func(n int) pipeline.Object {
		return object(t, fmt.Sprintf(`{"type":"report","id":"report--%d","modified":"2026-01-01T00:00:01Z","object_refs":[%s]}`, n, strings.Join(refs, ",")))
	}
	for _, come := range []int{many, many - 1} {
		synctest.Test(t, func(t *testing.T) {
			x, _, err := index.Open(t.Context(), t.TempDir(), index.Identity{}, index.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = x.Close() }()
			shelf := &readCounter{Waiting: x.Waiting()}
			change := func(c *Config) { c.Store = shelf }
			known := memoryIndex{}
			r := newRig(1, known, nil, change)
			r.put(t, wide(1))
			r.finish(t, pipeline.Complete)
			r = newRig(2, known, nil, change)
			shelf.read = 0
			if err := r.Recover(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.put(t, wide(2))
			time.Sleep(time.Minute)
			if err := r.Tick(t.Context()); err != nil { // which puts it on the shelf
				t.Fatal(err)
			}
			for i := range come {
				r.put(t, object(t, `{"type":"tool","id":"`+tool(i)+`"}`))
			}
			const most = 2 // as their time has come, or at the end
			r.finish(t, pipeline.Complete)
			if shelf.read > most {
				t.Errorf("with %d objects there were %d reads from disk", come, shelf.read)
			}
			for _, id := range []string{"report--1", "report--2"} {
				at := slices.Index(r.ids(), id)
				if at < come || len(r.ids()) != come+2 {
					t.Errorf("%s went as number %d of %d", id, at, len(r.ids()))
					continue
				}
				if sent, _ := r.queue.messages[at].object["object_refs"].([]any); len(sent) != come {
					t.Errorf("%s went with %d references of %d", id, len(sent), come)
				}
			}
			if got, want := shelf.Len(), 2*(many-come); got != want {
				t.Errorf("%d objects wait on, want %d", got, want)
			}
		})
	}
}

// TestWhatIsTakenUpBecauseOthersReferToItIsBounded lets a run refer to more of the shelf than it may remember.
func TestWhatIsTakenUpBecauseOthersReferToItIsBounded(t *testing.T) {
	x, shelf := memoryIndex{}, newMemoryStore()
	held, note := object(t, linkText), object(t, `{"type":"note","id":"note--1","object_refs":["relationship--1"]}`)
	r := newRig(1, x, shelf, nil)
	r.put(t, held)
	r.finish(t, pipeline.Complete)
	r = newRig(2, x, shelf, nil)
	for i := range triedMost {
		r.resolver.try(index.KeyOf(fmt.Sprint(i)))
	}
	r.put(t, note)
	r.finish(t, pipeline.Complete)
	if got := r.ids(); !slices.Equal(got, []string{"note--1"}) || len(r.resolver.tried) > triedMost {
		t.Errorf("sent %q, %d are remembered", got, len(r.resolver.tried))
	}
	r = newRig(3, x, shelf, nil)
	r.put(t, object(t, toolText), object(t, `{"type":"malware","id":"malware--1"}`))
	r.finish(t, pipeline.Complete)
	if got, want := r.ids(), []string{"tool--1", "malware--1", "relationship--1", "note--1"}; !slices.Equal(got, want) || len(shelf.byID) > 0 {
		t.Errorf("sent %q once the ends came, want %q; %d wait on", got, want, len(shelf.byID))
	}
}

func TestAParkedItemIsNotWaitedForByItsFetchers(t *testing.T) {
	r := newRig(1, memoryIndex{}, newMemoryStore(), nil)
	outcomes := r.put(t, object(t, spokeText))
	if want := []pipeline.Outcome{pipeline.Parked}; !slices.Equal(*outcomes, want) {
		t.Errorf("settled as %v, want %v", *outcomes, want)
	}
}

func TestWhatWasParkedIsCarriedIntoTheNextRun(t *testing.T) {
	waiting := newMemoryStore()
	r := newRig(1, memoryIndex{}, waiting, nil)
	outcomes := r.put(t, object(t, spokeText))
	r.finish(t, pipeline.Interrupted)
	if want := []pipeline.Outcome{pipeline.Parked, pipeline.Kept}; !slices.Equal(*outcomes, want) || len(r.queue.messages) > 0 {
		t.Fatalf("settled as %v, want %v; sent %q", *outcomes, want, r.ids())
	}
	r = newRig(2, r.index, waiting, nil)
	var carried, others []pipeline.Outcome
	err := errors.Join(
		r.Carry(t.Context(), "alerts", func(o pipeline.Outcome) { others = append(others, o) }),
		r.Carry(t.Context(), "profiles", func(o pipeline.Outcome) { carried = append(carried, o) }))
	if err != nil || slices.Contains(carried, pipeline.Delivered) || !slices.Equal(others, []pipeline.Outcome{pipeline.Delivered}) {
		t.Fatalf("carried %v and, of a dataset of which nothing waits, %v: %v", carried, others, err)
	}
	r.put(t, object(t, hubText))
	r.finish(t, pipeline.Complete)
	if got, want := r.ids(), []string{"malware--1", "report--1"}; !slices.Equal(got, want) || !slices.Contains(carried, pipeline.Delivered) {
		t.Errorf("sent %q, want %q; carried %v", got, want, carried)
	}
	if len(waiting.byID) > 0 {
		t.Error("it stays on disk")
	}
}

func TestWhatWasHeldBackStaysSoWhenTheRunThatTookItUpIsInterrupted(t *testing.T) {
	waiting := newMemoryStore()
	r := newRig(1, memoryIndex{}, waiting, nil)
	r.put(t, object(t, linkText)) // both ends are missing
	r.finish(t, pipeline.Complete)
	// The first end comes, and with it the relation is taken up, to wait for the other.
	r = newRig(2, r.index, waiting, func(c *Config) { c.ParkedBytes, c.BatchObjects = 1, 1 })
	r.put(t, object(t, toolText))
	if err := r.shelf.takeUpOne(t.Context(), "relationship--1"); err != nil || r.order.parked != 1 {
		t.Fatalf("it is not taken up: %v", err)
	}
	r.finish(t, pipeline.Interrupted)
	if w, found, _ := waiting.Get("relationship--1"); !found || w.Kind != index.HeldBack {
		t.Fatalf("on disk: %v, of kind %d", found, w.Kind)
	}
	// Its item was delivered long ago, so nothing is carried.
	r = newRig(3, r.index, waiting, nil)
	if err := r.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.put(t, object(t, hubText))
	r.finish(t, pipeline.Complete)
	if got, want := r.ids(), []string{"malware--1", "relationship--1"}; !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
}

func TestRecoverFindsWhatTheLastRunDidNotComeTo(t *testing.T) {
	waiting := newMemoryStore()
	r := newRig(1, memoryIndex{}, waiting, nil)
	r.put(t, object(t, spokeText))
	r.finish(t, pipeline.Complete)
	r.index.Put(index.KeyOf("malware--1"), index.Record{Run: 2, Seq: 1, Digest: 7}) // sent by a run that was killed then
	r = newRig(3, r.index, waiting, nil)
	if err := r.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.finish(t, pipeline.Complete)
	if got := r.ids(); !slices.Equal(got, []string{"report--1"}) || len(r.queue.messages[0].refs()) != 1 {
		t.Errorf("sent %q", got)
	}
}

// evictingStore holds so many objects and forgets the oldest.
type evictingStore struct {
	*memoryStore
	most int
}

func (w *evictingStore) Save(ctx context.Context, waiters []index.Waiter) (int, error) {
	_, err := w.memoryStore.Save(ctx, waiters)
	evicted := 0
	for len(w.order) > w.most {
		_ = w.Remove(ctx, w.order[:1])
		evicted++
	}
	return evicted, err
}

func TestWhatFallsOutOfTheDiskIsCounted(t *testing.T) {
	waiting := &evictingStore{newMemoryStore(), 3}
	r := newRig(1, memoryIndex{}, nil, func(c *Config) { c.Store = waiting })
	for i := range 10 {
		r.put(t, object(t, fmt.Sprintf(`{"type":"report","id":"report--%d","object_refs":["malware--1"]}`, i)))
	}
	r.finish(t, pipeline.Complete)
	if a := r.Account(); a.Evicted != 7 || a.Cleaned != 10 || len(r.queue.messages) != 10 {
		t.Errorf("account: %+v", a)
	}
}

// cautiousStore is an index and a disk of which the second refuses to lose what the first would lose in a crash.
type cautiousStore struct {
	memoryIndex
	*memoryStore
	t       failer
	pending map[index.Key]bool
}

func (s *cautiousStore) Put(k index.Key, r index.Record) {
	s.pending[k] = true
	s.memoryIndex.Put(k, r)
}

func (s *cautiousStore) Flush(context.Context) error { clear(s.pending); return nil }

func (s *cautiousStore) Save(ctx context.Context, waiters []index.Waiter) (int, error) {
	for _, w := range waiters {
		if s.pending[index.KeyOf(w.Object.ID)] && w.Kind == index.Cleaned {
			s.t.Fatalf("%s is noted as sent incomplete before the index is sure that it was sent", w.Object.ID)
		}
	}
	return s.memoryStore.Save(ctx, waiters)
}

func (s *cautiousStore) Remove(ctx context.Context, ids []string) error {
	for _, id := range ids {
		if s.pending[index.KeyOf(id)] {
			s.t.Fatalf("%s is taken off the disk before the index is sure that it was sent", id)
		}
	}
	return s.memoryStore.Remove(ctx, ids)
}

func TestTheDiskForgetsNothingBeforeTheIndexIsSureOfIt(t *testing.T) {
	s := &cautiousStore{memoryIndex{}, newMemoryStore(), t, map[index.Key]bool{}}
	r := newRig(1, nil, nil, func(c *Config) { c.Index, c.Store, c.ParkedBytes, c.BatchObjects = s, s, 1, 1 })
	r.put(t, object(t, spokeText))
	r.put(t, object(t, hubText))
	r.put(t, object(t, `{"type":"note","id":"note--1","object_refs":["campaign--1"]}`))
	r.finish(t, pipeline.Complete)
	if w := s.byID; len(w) != 1 || w["note--1"].Kind != index.Cleaned {
		t.Errorf("on disk: %v", w)
	}
}

func TestAnOlderVersionLeavesTheNewerOneOnDiskAlone(t *testing.T) {
	newer := `{"type":"report","id":"report--1","modified":"2026-01-01T00:00:02Z","object_refs":["malware--1","malware--2"]}`
	t.Run("delivered while the newer one waits", func(t *testing.T) {
		waiting := newMemoryStore()
		r := newRig(1, memoryIndex{}, waiting, func(c *Config) { c.ParkedBytes, c.BatchObjects = 1, 1 })
		r.queue.hold = true
		r.put(t, object(t, spokeText)) // saved
		r.put(t, object(t, hubText))   // both are sent
		r.put(t, object(t, newer))     // waits, and takes the older one's place on disk
		r.finish(t, pipeline.Interrupted)
		if w, found, _ := waiting.Get("report--1"); !found || !slices.Equal(w.Missing, []string{"malware--2"}) {
			t.Fatalf("on disk: %v, %+v", found, w)
		}
	})
	t.Run("waiting in its turn", func(t *testing.T) {
		waiting := newMemoryStore()
		r := newRig(1, memoryIndex{}, waiting, nil)
		r.put(t, object(t, `{"type":"relationship","id":"relationship--1","modified":"2026-01-01T00:00:02Z","source_ref":"tool--1","target_ref":"tool--2"}`))
		r.finish(t, pipeline.Complete) // held back
		r = newRig(2, r.index, waiting, func(c *Config) { c.ParkedBytes = 1 })
		older := r.put(t, object(t, linkText))
		r.finish(t, pipeline.Complete)
		if !isDelivered(older) {
			t.Errorf("settled as %v", *older)
		}
		r = newRig(3, r.index, waiting, nil)
		r.put(t, object(t, toolText), object(t, `{"type":"tool","id":"tool--2"}`))
		r.finish(t, pipeline.Complete)
		if got, want := r.ids(), []string{"tool--1", "tool--2", "relationship--1"}; !slices.Equal(got, want) {
			t.Errorf("sent %q, want %q", got, want)
		}
	})
	t.Run("whose text only the disk has", func(t *testing.T) {
		waiting := newMemoryStore()
		r := newRig(1, memoryIndex{}, waiting, nil)
		r.put(t, object(t, `{"type":"relationship","id":"relationship--2","modified":"2026-01-01T00:00:01Z","source_ref":"malware--1","target_ref":"tool--1"}`))
		r.finish(t, pipeline.Complete) // held back
		r = newRig(2, r.index, waiting, func(c *Config) { c.BatchObjects = 1 })
		// The newer one gives way in a circle, and before the disk knows it the older one is taken up from there.
		r.put(t,
			object(t, `{"type":"relationship","id":"relationship--1","modified":"2026-01-01T00:00:02Z","source_ref":"relationship--2","target_ref":"identity--1"}`),
			object(t, `{"type":"relationship","id":"relationship--2","modified":"2026-01-01T00:00:02Z","source_ref":"relationship--1","target_ref":"identity--1"}`),
			object(t, `{"type":"identity","id":"identity--1"}`))
		r.resolver.cutCycles(t.Context())
		r.shelf.memory = 1
		if err := r.shelf.takeUpOne(t.Context(), "relationship--2"); err != nil {
			t.Fatal(err)
		}
		if n := r.order.live[index.KeyOf("relationship--2")]; n == nil || n.object.JSON != nil || n.object.Modified.Second() != 1 {
			t.Fatalf("the older one was not taken up, or its text is in memory: %+v", n)
		}
		if err := r.shelf.tidy(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		r.put(t, object(t, toolText), object(t, hubText))
		r.finish(t, pipeline.Complete)
		if got := r.ids(); !slices.Contains(got, "relationship--2") {
			t.Errorf("sent %q", got)
		}
	})
}
