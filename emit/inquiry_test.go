package emit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
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
		if want := map[bool]int{true: 2, false: 0}[run == 0]; len(r.queue.messages) != want {
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
func deliveredBefore(t *testing.T, days int, change func(*Config), objects ...pipeline.Object) *rig {
	t.Helper()
	store, x := newMemoryStore(), memoryIndex{}
	first := newRig(7, x, store, nil)
	first.put(t, objects...)
	first.finish(t, pipeline.Complete)
	for key, rec := range x {
		rec.Day -= index.Day(days)
		x[key] = rec
	}
	return newRig(8, x, store, change)
}

func TestOldKnowledgeIsVerifiedBeforeItCounts(t *testing.T) {
	const week = 7 * 24 * time.Hour
	for _, tt := range []struct {
		name        string
		days        int
		after       time.Duration
		held        []string
		asked, sent []string
		lost, known int64
	}{
		{"fresh", 6, week, nil, nil, []string{"report--1"}, 0, 2},
		{"never verified", 6000, 0, nil, nil, []string{"report--1"}, 0, 2},
		{"old and held", 7, week, []string{"malware--1", "tool--1"}, []string{"malware--1", "tool--1"}, []string{"report--1"}, 0, 2},
		{"old and lost", 7, week, []string{"tool--1"}, []string{"malware--1", "tool--1"}, []string{"malware--1", "report--1"}, 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			platform := catalogueOf(tt.held...)
			r := deliveredBefore(t, tt.days, func(c *Config) { c.Platform, c.VerifyAfter = platform, tt.after }, object(t, hubText), object(t, toolText))
			outcomes := r.put(t, object(t, spokeText), object(t, hubText), object(t, toolText))
			r.finish(t, pipeline.Complete)
			r.Close()
			asked := platform.take()
			slices.Sort(asked)
			if !slices.Equal(asked, tt.asked) || !slices.Equal(r.ids(), tt.sent) || !isDelivered(outcomes) {
				t.Errorf("asked for %q, sent %q, settled as %v", asked, r.ids(), *outcomes)
			}
			if a := r.Account(); a.Lost != tt.lost || a.Known != tt.known {
				t.Errorf("the account is %+v", a)
			}
			again := newRig(9, r.index, r.waiting, func(c *Config) { c.Platform, c.VerifyAfter = platform, tt.after })
			defer again.Close()
			again.put(t, object(t, spokeText), object(t, hubText), object(t, toolText))
			again.finish(t, pipeline.Complete)
			if asked := platform.take(); len(asked) > 0 && tt.after > 0 && tt.days >= 7 || len(again.queue.messages) > 0 {
				t.Errorf("the next run asked for %q and sent %q", asked, again.ids())
			}
		})
	}
}

func TestWhatMayStillBeInTheQueueIsNotAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const day = 24 * time.Hour
		time.Sleep(day - time.Since(time.Now().Truncate(day)) - 10*time.Second) // shortly before midnight
		platform := catalogueOf()
		change := func(c *Config) { c.Platform, c.VerifyAfter = platform, day }
		r := newRig(1, memoryIndex{}, newMemoryStore(), change)
		r.put(t, object(t, hubText), object(t, toolText))
		r.tickFor(t, 20*time.Second)
		r.put(t, object(t, spokeText))
		r.tickFor(t, 5*day)
		r.put(t, object(t, linkText), object(t, hubText))
		r.finish(t, pipeline.Complete)
		r.Close()
		next := newRig(2, r.index, r.waiting, func(c *Config) { change(c); c.Importing = map[uint32]bool{1: true} })
		defer next.Close()
		next.put(t, object(t, hubText), note(t, 1, "malware--1"))
		next.finish(t, pipeline.Complete)
		if got := platform.take(); len(got) > 0 {
			t.Errorf("OpenCTI was asked for %q", got)
		}
		if !slices.Equal(next.ids(), []string{"note--1"}) || len(r.queue.messages) != 4 {
			t.Errorf("sent %q and %q", r.ids(), next.ids())
		}
	})
}

func TestWhatBecomesDoubtfulInARunIsAskedForOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		platform := catalogueOf("marking-definition--1", "malware--9")
		r := newRig(1, memoryIndex{}, newMemoryStore(), func(c *Config) { c.Platform, c.VerifyAfter = platform, 24*time.Hour })
		defer r.Close()
		r.put(t, markedNote(t))
		r.tickFor(t, 10*time.Second)
		time.Sleep(3 * 24 * time.Hour)
		outcomes := r.put(t, object(t, `{"type":"note","id":"note--77","object_marking_refs":["marking-definition--1"],"object_refs":["malware--9"]}`))
		r.finish(t, pipeline.Complete)
		if m := r.queue.messages[len(r.queue.messages)-1]; m.id != "note--77" || len(m.refs()) != 2 || !isDelivered(outcomes) {
			t.Errorf("%s was sent with %q, settled as %v", m.id, m.refs(), *outcomes)
		}
	})
}

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

func TestWhatOpenCTIHasLostIsWaitedForWhereTheRunDoesNotBringIt(t *testing.T) {
	platform := catalogueOf()
	change := func(c *Config) { c.Platform, c.VerifyAfter = platform, 24*time.Hour }
	r := deliveredBefore(t, 2, change, object(t, hubText))
	r.put(t, object(t, linkText), object(t, toolText))
	r.finish(t, pipeline.Complete)
	r.Close()
	if !slices.Equal(r.ids(), []string{"tool--1"}) {
		t.Errorf("sent %q, a relation to what OpenCTI has lost among them", r.ids())
	}
	again := newRig(9, r.index, r.waiting, change)
	defer again.Close()
	again.put(t, object(t, hubText))
	again.finish(t, pipeline.Complete)
	if !slices.Equal(again.ids(), []string{"malware--1", "relationship--1"}) {
		t.Errorf("when it came again %q were sent", again.ids())
	}
}

func TestARunInDoubtIsSentAgain(t *testing.T) {
	for _, asks := range []bool{true, false} {
		platform := catalogueOf("malware--1", "tool--1") // in which version, or whose, nobody knows
		if !asks {
			platform.refuse = func(int) error { return &opencti.Error{Operation: "holds", Name: "FORBIDDEN_ACCESS", Status: 403} }
		}
		x, store := memoryIndex{}, newMemoryStore()
		first := newRig(7, x, store, nil)
		first.put(t, object(t, hubText), object(t, toolText))
		first.finish(t, pipeline.Complete)
		r := newRig(8, x, store, func(c *Config) { c.Platform, c.Doubted = platform, map[uint32]bool{7: true} })
		r.put(t, object(t, spokeText)) // lets OpenCTI be asked for the malware before that comes
		r.finish(t, pipeline.Complete)
		r.put(t, object(t, hubText), object(t, toolText))
		r.finish(t, pipeline.Complete)
		r.Close()
		for _, id := range []string{"malware--1", "tool--1"} {
			if !slices.Contains(r.ids(), id) {
				t.Errorf("asking %v: sent %q, without %s", asks, r.ids(), id)
			}
		}
	}
}

func TestAVersionInDoubtIsNoGoodAsAReferenceBeforeOpenCTISaysThatItHoldsOne(t *testing.T) {
	newer := strings.Replace(hubText, `"id":"malware--1"`, `"id":"malware--1","modified":"2021-01-01T00:00:00Z"`, 1)
	for _, held := range []bool{true, false} {
		platform := catalogueOf()
		if held {
			platform = catalogueOf("malware--1")
		}
		x, store := memoryIndex{}, newMemoryStore()
		for run, text := range []string{hubText, newer} { // both dropped by the workers
			r := newRig(uint32(6+run), x, store, nil)
			r.put(t, object(t, text))
			r.finish(t, pipeline.Complete)
		}
		r := newRig(8, x, store, func(c *Config) { c.Platform, c.Doubted = platform, map[uint32]bool{6: true, 7: true} })
		r.put(t, object(t, spokeText))
		r.finish(t, pipeline.Complete)
		if refs := len(r.queue.messages[0].refs()); (refs == 1) != held {
			t.Errorf("held %v: sent with %d references", held, refs)
		}
		r.put(t, object(t, newer))
		r.finish(t, pipeline.Complete)
		r.Close()
		if !slices.Contains(r.ids(), "malware--1") {
			t.Errorf("held %v: the version in doubt was not sent again", held)
		}
	}
}

func TestWithoutTheRightToAskTheIndexIsBelieved(t *testing.T) {
	platform := catalogueOf()
	platform.refuse = func(int) error { return &opencti.Error{Operation: "holds", Name: "FORBIDDEN_ACCESS", Status: 403} }
	r := deliveredBefore(t, 100, func(c *Config) { c.Platform, c.VerifyAfter = platform, 24*time.Hour }, object(t, hubText), object(t, toolText))
	outcomes := r.put(t, object(t, spokeText), object(t, hubText))
	r.finish(t, pipeline.Complete)
	r.Close()
	if !slices.Equal(r.ids(), []string{"report--1"}) || !isDelivered(outcomes) || len(r.queue.messages[0].refs()) != 1 {
		t.Errorf("sent %q, settled as %v", r.ids(), *outcomes)
	}
}

func TestWhatOpenCTIDidNotImportCountsAsItsMarkSays(t *testing.T) {
	for mark, want := range map[index.Mark][]string{
		index.Lost:    {"malware--1", "report--1"}, // sent again, and what refers to it after it
		index.Refused: {"report--1"},               // not sent again, and cut
	} {
		r := deliveredBefore(t, 0, nil, object(t, hubText))
		key := index.KeyOf("malware--1")
		rec := r.index[key]
		rec.Mark, rec.Tries = mark, 2
		r.index[key] = rec
		r.put(t, object(t, spokeText), object(t, hubText))
		r.finish(t, pipeline.Complete)
		if !slices.Equal(r.ids(), want) || (len(r.queue.messages[len(want)-1].refs()) == 0) != (mark == index.Refused) {
			t.Errorf("mark %d: sent %q", mark, r.ids())
		}
		if got := r.index[key]; got.Tries != 2 {
			t.Errorf("mark %d: the index counts %d tries", mark, got.Tries)
		}
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
