package emit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// catalogue is a platform that holds some objects and notes the questions.
type catalogue struct {
	mu    sync.Mutex
	held  map[string]string
	asked []string
	// refuse decides about the question of a number, from 1 on; nil answers all.
	refuse    func(question int) error
	questions int
}

func catalogueOf(ids ...string) *catalogue {
	c := &catalogue{held: map[string]string{}}
	for _, id := range ids {
		c.held[id] = "Thing"
	}
	return c
}

func (c *catalogue) Holds(_ context.Context, ids []string) (map[string]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.questions++
	if c.refuse != nil {
		if err := c.refuse(c.questions); err != nil {
			return nil, err
		}
	}
	c.asked = append(c.asked, ids...)
	return maps.Clone(c.held), nil
}

// take returns what was asked for since the last call.
func (c *catalogue) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	asked := c.asked
	c.asked = nil
	return asked
}

// tickFor lets time pass in a bubble.
func (r *rig) tickFor(t *testing.T, d time.Duration) {
	t.Helper()
	for range d / (250 * time.Millisecond) {
		time.Sleep(250 * time.Millisecond)
		if err := r.Tick(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func note(t *testing.T, number int, refs ...string) pipeline.Object {
	t.Helper()
	text, err := json.Marshal(map[string]any{"type": "note", "id": fmt.Sprintf("note--%d", number), "object_refs": append([]string{}, refs...)})
	must(t, err)
	return object(t, string(text))
}

func markedNote(t *testing.T) pipeline.Object {
	return object(t, `{"type":"note","id":"note--9","object_marking_refs":["marking-definition--1"],"object_refs":["malware--9"]}`)
}

func TestMarkingsAreAskedForEarlyAndTheRestWhenNothingComesAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		platform := catalogueOf("marking-definition--1", "malware--9")
		r := newRig(1, memoryIndex{}, newMemoryStore(), func(c *Config) { c.Platform, c.BatchObjects = platform, 1 })
		defer r.Close()
		r.put(t, markedNote(t))
		for i := range 10 {
			r.put(t, note(t, i+10))
			r.tickFor(t, time.Second)
		}
		if got := platform.take(); !slices.Equal(got, []string{"marking-definition--1"}) {
			t.Errorf("while items came OpenCTI was asked for %q", got)
		}
		r.tickFor(t, 2*quietAfter)
		if got := platform.take(); !slices.Equal(got, []string{"malware--9"}) {
			t.Errorf("when none came any more OpenCTI was asked for %q", got)
		}
		if !slices.Contains(r.ids(), "note--9") {
			t.Errorf("sent %q", r.ids())
		}
		r.finish(t, pipeline.Complete)
		if got := platform.take(); len(got) > 0 {
			t.Errorf("asked again for %q", got)
		}
	})
}

func TestWhatIsWaitedForIsLookedThroughAtTheSameCostHoweverMuchItIs(t *testing.T) {
	for _, most := range []int{10, 4 * lookedThrough} {
		synctest.Test(t, func(t *testing.T) {
			refs := make([]string, most)
			for i := range refs {
				refs[i] = fmt.Sprintf("malware--%d", i)
			}
			r := newRig(1, memoryIndex{}, newMemoryStore(), nil)
			defer r.Close()
			r.put(t, note(t, 1, refs...))
			looks := 0
			for range 100 {
				time.Sleep(askEvery)
				before := r.inquiry.looked
				must(t, r.Tick(t.Context()))
				if r.inquiry.looked != before {
					looks++
				}
			}
			if want := 100 / (1 + most/lookedThrough); looks != want {
				t.Errorf("%d are waited for, and looked through %d times in 100 s instead of %d", most, looks, want)
			}
		})
	}
}

func TestWhatTheRunBringsItselfIsNotAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		platform := catalogueOf()
		r := newRig(1, memoryIndex{}, newMemoryStore(), func(c *Config) { c.Platform = platform })
		defer r.Close()
		r.put(t, object(t, spokeText))
		for i := range 20 {
			r.put(t, note(t, i+10))
			r.tickFor(t, time.Second)
		}
		r.put(t, object(t, hubText))
		r.finish(t, pipeline.Complete)
		if got := platform.take(); len(got) > 0 {
			t.Errorf("asked for %q", got)
		}
	})
}

func TestQuestionsHaveNoFixedNumber(t *testing.T) {
	platform := catalogueOf("marking-definition--1", "malware--9")
	r := newRig(1, memoryIndex{}, newMemoryStore(), func(c *Config) { c.Platform = platform })
	defer r.Close()
	const reports, each = 250, 100
	for i := range reports {
		var refs []string
		for j := range each {
			refs = append(refs, shapeID("malware", i*each+j))
		}
		r.put(t, note(t, i+10, refs...))
	}
	r.put(t, markedNote(t))
	r.finish(t, pipeline.Complete)
	if n := len(platform.take()); n != reports*each+2 {
		t.Errorf("OpenCTI was asked for %d ids", n)
	}
	if m := r.queue.messages[len(r.queue.messages)-1]; !slices.ContainsFunc(r.queue.messages, func(m message) bool { return m.id == "note--9" && len(m.refs()) == 2 }) {
		t.Errorf("the marked note is not whole; the last message is %s", m.id)
	}
}

func TestNothingIsCutForWhatIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		platform := catalogueOf("marking-definition--1", "malware--9")
		platform.refuse = func(int) error { return errors.New("the search engine is away") }
		core, logs := observer.New(zapcore.WarnLevel)
		store, x := newMemoryStore(), memoryIndex{}
		r := newRig(1, x, store, func(c *Config) { c.Platform, c.Log = platform, zap.New(core) })
		outcomes, other := r.put(t, markedNote(t)), r.put(t, note(t, 1))
		began := time.Now()
		if err := r.Finish(t.Context(), pipeline.Complete); !errors.Is(err, errUnknown) {
			t.Errorf("the run ended with %v", err)
		}
		if waited := time.Since(began); waited < askPatience || waited > 2*askPatience {
			t.Errorf("it waited %s for an answer", waited)
		}
		r.Close()
		if !slices.Equal(r.ids(), []string{"note--1"}) || !isDelivered(other) {
			t.Errorf("sent %q, settled as %v", r.ids(), *other)
		}
		if got := *outcomes; got[len(got)-1] != pipeline.Kept || !store.Has("note--9") {
			t.Errorf("what waits was settled as %v", got)
		}
		if n := logs.FilterMessageSnippet("does not say which").Len(); n != 1 {
			t.Errorf("said so %d times", n)
		}
		platform.refuse = nil
		again := newRig(2, x, store, func(c *Config) { c.Platform = platform })
		defer again.Close()
		must(t, again.Carry(t.Context(), "profiles", func(pipeline.Outcome) {}))
		again.finish(t, pipeline.Complete)
		if len(again.queue.messages) != 1 || len(again.queue.messages[0].refs()) != 2 {
			t.Errorf("the next run sent %q", again.ids())
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAQuestionThatFailsForAWhileIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		platform := catalogueOf("marking-definition--1", "malware--9")
		platform.refuse = func(question int) error {
			if question < 12 {
				return errors.New("busy")
			}
			return nil
		}
		r := newRig(1, memoryIndex{}, newMemoryStore(), func(c *Config) { c.Platform = platform })
		defer r.Close()
		r.put(t, markedNote(t))
		r.finish(t, pipeline.Complete)
		if len(r.queue.messages) != 1 || len(r.queue.messages[0].refs()) != 2 {
			t.Errorf("sent %v", r.queue.messages)
		}
	})
}

func TestWhatIsCutForWantOfARightIsMadeGoodOnceItIsThere(t *testing.T) {
	platform := catalogueOf("marking-definition--1", "malware--9")
	platform.refuse = func(int) error { return &opencti.Error{Operation: "holds", Name: "FORBIDDEN_ACCESS", Status: 403} }
	core, logs := observer.New(zapcore.ErrorLevel)
	store, x, refusal := newMemoryStore(), memoryIndex{}, new(Refusal)
	for run := range uint32(3) {
		r := newRig(run+1, x, store, func(c *Config) { c.Platform, c.Refusal, c.Log = platform, refusal, zap.New(core) })
		if run == 0 {
			r.put(t, markedNote(t), note(t, 1))
		}
		r.finish(t, pipeline.Complete)
		r.Close()
		want := 0
		if run == 0 {
			want = 3 // with the marking that takes the place of the one that is cut
		}
		if len(r.queue.messages) != want {
			t.Errorf("run %d sent %q", run, r.ids())
		}
	}
	if n := logs.FilterMessageSnippet("Access knowledge").Len(); n != 1 {
		t.Errorf("the missing right was named %d times", n)
	}
	platform.refuse = nil
	r := newRig(9, x, store, func(c *Config) { c.Platform = platform })
	defer r.Close()
	r.finish(t, pipeline.Complete)
	if len(r.queue.messages) != 1 || len(r.queue.messages[0].refs()) != 2 || len(store.byID) > 0 {
		t.Errorf("with the right it sent %q, and %d objects wait", r.ids(), len(store.byID))
	}
}

func TestWhatWasAbsentIsAskedForByEveryLaterRun(t *testing.T) {
	platform, store, x := catalogueOf(), newMemoryStore(), memoryIndex{}
	first := newRig(1, x, store, func(c *Config) { c.Platform = platform })
	first.put(t, object(t, spokeText), object(t, linkText), object(t, toolText))
	first.finish(t, pipeline.Complete)
	first.Close()
	for run := range uint32(3) {
		if run == 2 {
			platform.held["malware--1"] = "Malware"
		}
		platform.take()
		r := newRig(run+2, x, store, func(c *Config) { c.Platform = platform })
		r.finish(t, pipeline.Complete)
		r.Close()
		if got := platform.take(); !slices.Equal(got, []string{"malware--1"}) {
			t.Errorf("run %d asked for %q", run, got)
		}
		if want := map[bool]int{true: 2, false: 0}[run == 2]; len(r.queue.messages) != want {
			t.Errorf("run %d sent %q", run, r.ids())
		}
	}
	if len(store.byID) > 0 {
		t.Errorf("%d objects stay on disk", len(store.byID))
	}
}

// delivered is a rig whose index knows what earlier runs have delivered, some days ago.
func TestWhatWaitsIsOnDiskAlsoWhereARunFailsInItsMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		platform, store := catalogueOf(), newMemoryStore()
		platform.refuse = func(int) error { return errors.New("the search engine is away") }
		r := newRig(1, memoryIndex{}, store, func(c *Config) { c.Platform, c.ParkedObjects = platform, 3 })
		defer r.Close()
		var err error
		for i := 0; err == nil && i < 10; i++ {
			err = r.Put(t.Context(), pipeline.Item{}, []pipeline.Object{note(t, i, "malware--9")}, func(pipeline.Outcome) {})
		}
		if !errors.Is(err, errUnknown) || len(store.byID) != 4 || len(r.queue.messages) > 0 {
			t.Errorf("%v; %d objects are on disk, %d were sent", err, len(store.byID), len(r.queue.messages))
		}
	})
}

func TestWhatWaitsForASecondIDFollowsWhenOpenCTIHoldsTheObject(t *testing.T) {
	twoNames := object(t, `{"type":"malware","id":"malware--1","x_opencti_id":"11111111-1111-4111-8111-111111111111"}`)
	platform := catalogueOf("malware--1")
	r := deliveredBefore(t, 10, func(c *Config) { c.Platform, c.VerifyAfter = platform, 24*time.Hour }, twoNames)
	defer r.Close()
	waits := note(t, 1, twoNames.AltID)
	_, err := r.waiting.Save(t.Context(), []index.Waiter{{Object: waits, Missing: waits.Refs, Kind: index.HeldBack}})
	must(t, err)
	r.put(t, twoNames)
	r.finish(t, pipeline.Complete)
	if !slices.Equal(r.ids(), []string{"note--1"}) {
		t.Errorf("sent %q", r.ids())
	}
}

func TestWhatIsAskedForTakesBoundedMemory(t *testing.T) {
	platform := catalogueOf()
	var objects []pipeline.Object
	for i := range 2*mostAsked + 100 {
		o := note(t, i)
		objects = append(objects, o)
		platform.held[o.ID] = "Note"
	}
	r := deliveredBefore(t, 10, func(c *Config) { c.Platform, c.VerifyAfter = platform, 24*time.Hour }, objects...)
	defer r.Close()
	for some := range slices.Chunk(objects, 50) {
		r.put(t, some...)
		if r.order.asked > mostAsked {
			t.Fatalf("%d objects wait for OpenCTI's word", r.order.asked)
		}
	}
	r.finish(t, pipeline.Complete)
	if len(r.queue.messages) > 0 {
		t.Errorf("%d were sent", len(r.queue.messages))
	}
}
