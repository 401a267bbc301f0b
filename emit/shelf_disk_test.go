package emit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

func TestAFullDiskLosesNothingAndFailsTheRunAtItsEnd(t *testing.T) {
	core, logs := observer.New(zapcore.WarnLevel)
	waiting := newMemoryStore()
	waiting.full = true
	r := newRig(1, memoryIndex{}, waiting, func(c *Config) { c.ParkedBytes, c.Log, c.BatchObjects = 200, zap.New(core), 1 })
	report := r.put(t, object(t, spokeText))
	link := r.put(t, object(t, linkText))
	other := r.put(t, object(t, toolText))
	found := r.put(t, object(t, `{"type":"note","id":"note--1","object_refs":["campaign--1"]}`))
	r.put(t, object(t, `{"type":"campaign","id":"campaign--1"}`))
	if err := r.Finish(t.Context(), pipeline.Complete); !errors.Is(err, errDisk) {
		t.Errorf("Finish() = %v", err)
	}
	if got, want := r.ids(), []string{"tool--1", "campaign--1", "note--1", "report--1"}; !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
	if isDelivered(report) || isDelivered(link) {
		t.Error("an item counts as delivered whose missing reference nobody remembers")
	}
	if !isDelivered(other) || !isDelivered(found) {
		t.Error("an item that needs no disk was not settled")
	}
	if n := logs.FilterMessageSnippet("cannot be put on disk").Len(); n != 1 {
		t.Errorf("said so %d times", n)
	}

	// The next run fetches what was not settled, finds room, and the one after it makes all good.
	waiting.full = false
	r = newRig(2, r.index, waiting, nil)
	report, link = r.put(t, object(t, spokeText)), r.put(t, object(t, linkText))
	r.finish(t, pipeline.Complete)
	if !isDelivered(report) || !isDelivered(link) || len(r.queue.messages) > 0 {
		t.Errorf("settled as %v and %v, sent %q", *report, *link, r.ids())
	}
	r = newRig(3, r.index, waiting, nil)
	r.put(t, object(t, hubText))
	r.finish(t, pipeline.Complete)
	if got := r.ids(); len(got) != 3 || len(r.queue.messages[1].refs())+len(r.queue.messages[2].refs()) != 3 {
		t.Errorf("sent %q, want the malware and, whole, what refers to it", got)
	}
}

func TestWhatAFullDiskDoesNotTakeIsBoundedInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waiting := newMemoryStore()
		waiting.full = true
		const bound = 1 << 20
		r := newRig(1, memoryIndex{}, waiting, func(c *Config) { c.ParkedBytes = bound })
		text := strings.Repeat("x", 50<<10)
		var failure error
		for i := 0; i < 400 && failure == nil; i++ {
			o := object(t, fmt.Sprintf(`{"type":"relationship","id":"relationship--%d","description":%q,"source_ref":"malware--1","target_ref":"malware--2"}`, i, text))
			failure = r.Put(t.Context(), pipeline.Item{Dataset: "profiles", ID: "1"}, []pipeline.Object{o}, func(o pipeline.Outcome) {
				if o != pipeline.Parked {
					t.Errorf("object %d is settled as %d", i, o)
				}
			})
			time.Sleep(time.Second)
		}
		if !errors.Is(failure, errDisk) || r.order.parkedBytes > 5*bound {
			t.Errorf("%v, %d bytes of texts in memory", failure, r.order.parkedBytes)
		}
	})
}

// countingStore counts what a full disk is asked for.
type countingStore struct {
	*memoryStore
	saves int
}

func (w *countingStore) Save(ctx context.Context, waiters []index.Waiter) (int, error) {
	w.saves++
	return w.memoryStore.Save(ctx, waiters)
}

// TestMoreThanTheShelfMayHoldGoesWithoutWhatItWaitsFor parks more bytes than the store may hold, in fewer objects than may wait.
func TestMoreThanTheShelfMayHoldGoesWithoutWhatItWaitsFor(t *testing.T) {
	for _, durable := range []bool{true, false} {
		x, _, err := index.Open(t.Context(), t.TempDir(), index.Identity{}, index.Options{MaxWaitingBytes: 100_000})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = x.Close() }()
		r := newRig(1, memoryIndex{}, nil, func(c *Config) { c.Store, c.Durable, c.ParkedBytes, c.BatchObjects = x.Waiting(), durable, 1, 5 })
		filling := strings.Repeat("text ", 1000)
		var failure error
		delivered, most := 0, int64(0)
		const objects = 200
		for i := 0; i < objects && failure == nil; i++ {
			o := object(t, fmt.Sprintf(`{"type":"report","id":"report--%d","description":%q,"object_refs":["malware--1"]}`, i, filling))
			failure = r.Put(t.Context(), pipeline.Item{Dataset: "profiles"}, []pipeline.Object{o}, func(o pipeline.Outcome) {
				if o == pipeline.Delivered {
					delivered++
				}
			})
			if texts := int64(textsInMemory(r.Emitter)); texts > most {
				most = texts
			}
		}
		if failure != nil {
			t.Fatalf("where the shelf outlives the process, %t: %v", durable, failure)
		}
		r.finish(t, pipeline.Complete)
		if delivered != objects || len(r.queue.messages) != objects || most > 150_000 {
			t.Errorf("where the shelf outlives the process, %t: %d delivered, %d sent, %d bytes of texts in memory", durable, delivered, len(r.queue.messages), most)
		}
	}
}

func TestAFullDiskIsNotTriedWithEveryItem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waiting := &countingStore{memoryStore: newMemoryStore()}
		waiting.full = true
		r := newRig(1, memoryIndex{}, nil, func(c *Config) { c.Store, c.ParkedBytes = waiting, 20_000 })
		for i := range 1000 {
			r.put(t, object(t, fmt.Sprintf(`{"type":"report","id":"report--%d","object_refs":["malware--1"]}`, i)))
			time.Sleep(10 * time.Millisecond)
		}
		if waiting.saves < 2 || waiting.saves > 10 {
			t.Errorf("tried %d times in ten seconds", waiting.saves)
		}
		waiting.full = false
		time.Sleep(3 * time.Second)
		if err := r.Tick(t.Context()); err != nil {
			t.Fatal(err)
		}
		if textsInMemory(r.Emitter) > 0 {
			t.Error("texts stay in memory once there is room")
		}
	})
}

// brokenStore cannot read some objects any more.
type brokenStore struct {
	*memoryStore
	broken map[string]bool
}

var errUnreadable = errors.New("input/output error")

func (w *brokenStore) Get(id string) (index.Waiter, bool, error) {
	if w.broken[id] {
		return index.Waiter{}, false, errUnreadable
	}
	return w.memoryStore.Get(id)
}

func (w *brokenStore) All(kinds ...index.WaiterKind) iter.Seq2[index.Waiter, error] {
	return func(yield func(index.Waiter, error) bool) {
		for one := range w.memoryStore.All(kinds...) {
			if w.broken[one.Object.ID] {
				if !yield(index.Waiter{}, errUnreadable) {
					return
				}
				continue
			}
			if !yield(one, nil) {
				return
			}
		}
	}
}

func TestAnObjectThatTheDiskDoesNotGiveBackLeavesItsItemUnsettledAlone(t *testing.T) {
	waiting := newMemoryStore()
	disk := &brokenStore{waiting, map[string]bool{}}
	change := func(c *Config) { c.Store, c.ParkedBytes = disk, 1 }
	r := newRig(1, memoryIndex{}, waiting, change)
	bad := r.put(t, object(t, spokeText))
	good := r.put(t, object(t, `{"type":"report","id":"report--2","object_refs":["malware--1"]}`))
	disk.broken["report--1"] = true
	r.finish(t, pipeline.Complete)
	if got, want := r.ids(), []string{"report--2"}; !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
	if isDelivered(bad) || !isDelivered(good) {
		t.Errorf("the unreadable one's item was settled as %v, the other's as %v", *bad, *good)
	}

	// What an earlier run kept does not count as delivered either.
	r = newRig(2, r.index, waiting, change)
	var carried []pipeline.Outcome
	if err := r.Carry(t.Context(), "profiles", func(o pipeline.Outcome) { carried = append(carried, o) }); err != nil {
		t.Fatal(err)
	}
	r.finish(t, pipeline.Complete)
	if slices.Contains(carried, pipeline.Delivered) {
		t.Errorf("what the disk does not give back counts as delivered: %v", carried)
	}
}

func TestAnObjectInACycleThatTheDiskDoesNotGiveBackLeavesItsItemUnsettled(t *testing.T) {
	waiting := newMemoryStore()
	disk := &brokenStore{waiting, map[string]bool{"note--1": true, "report--1": true}}
	r := newRig(1, memoryIndex{}, waiting, func(c *Config) { c.Store, c.ParkedBytes = disk, 1 })
	one := r.put(t, object(t, `{"type":"report","id":"report--1","object_refs":["note--1"]}`))
	two := r.put(t, object(t, `{"type":"note","id":"note--1","object_refs":["report--1"]}`))
	r.finish(t, pipeline.Complete)
	if isDelivered(one) || isDelivered(two) || len(r.queue.messages) > 0 {
		t.Errorf("settled as %v and %v, sent %q", *one, *two, r.ids())
	}
}
