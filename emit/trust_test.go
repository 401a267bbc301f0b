package emit

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

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
