package emit

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"pgregory.net/rapid"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// fail lets the index and the shelf know that OpenCTI could not import an object.
func (r *rig) fail(o pipeline.Object, mark index.Mark) {
	rec := r.index[index.KeyOf(o.ID)]
	rec.Mark = mark
	if mark == index.Lost {
		rec.Tries++
		o.Digest = rec.Digest
		w, found, _ := r.waiting.Get(o.ID)
		if !found {
			w = index.Waiter{Object: o}
		}
		w.Kind = index.Unimported
		_, _ = r.waiting.Save(context.Background(), []index.Waiter{w})
	}
	r.index[index.KeyOf(o.ID)] = rec
}

// mend is a run that brings nothing but what is to be sent again, and returns what it sent.
func mend(t *testing.T, run uint32, before *rig, platform Platform) *rig {
	t.Helper()
	r := newRig(run, before.index, before.waiting, func(c *Config) { c.Platform = platform })
	defer r.Close()
	if err := r.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.finish(t, pipeline.Complete)
	return r
}

func TestWhatCouldNotBeImportedIsSentAgainAfterWhatItRefersTo(t *testing.T) {
	r := newRig(1, memoryIndex{}, newMemoryStore(), nil)
	hub, spoke := object(t, hubText), object(t, spokeText)
	r.put(t, hub, spoke)
	r.finish(t, pipeline.Complete)
	for n := range uint8(3) {
		r.fail(spoke, index.Lost)
		r.fail(hub, index.Lost)
		r = mend(t, uint32(n)+2, r, catalogueOf())
		if want := []string{hub.ID, spoke.ID}; !slices.Equal(r.ids(), want) {
			t.Errorf("sent %q, want %q", r.ids(), want)
		}
		for _, o := range []pipeline.Object{hub, spoke} {
			if rec := r.index[index.KeyOf(o.ID)]; rec.Tries != n+1 || rec.Mark == index.Lost || rec.Mark == index.Refused {
				t.Errorf("of %s the index knows %+v", o.ID, rec)
			}
		}
	}
	if len(r.waiting.byID) > 0 {
		t.Errorf("%v are still on the shelf", r.waiting.byID)
	}
	if r = mend(t, 9, r, catalogueOf()); len(r.ids()) > 0 {
		t.Errorf("sent %q once more", r.ids())
	}
}

func TestAnObjectThatWentWithoutReferencesKeepsItsTries(t *testing.T) {
	r := newRig(1, memoryIndex{}, newMemoryStore(), nil)
	n := note(t, 1, "malware--1")
	r.put(t, n)
	r.finish(t, pipeline.Complete)
	for tries := range uint8(3) {
		r.fail(n, index.Lost)
		r = mend(t, uint32(tries)+2, r, catalogueOf())
		if rec := r.index[index.KeyOf(n.ID)]; len(r.ids()) != 1 || rec.Tries != tries+1 {
			t.Errorf("sent %q, the index knows %+v", r.ids(), rec)
		}
	}
	r.fail(n, index.Refused)
	r = mend(t, 9, r, catalogueOf())
	r.put(t, n)
	r.finish(t, pipeline.Complete)
	if len(r.ids()) > 0 {
		t.Errorf("sent %q although OpenCTI does not take it", r.ids())
	}
	r = newRig(10, r.index, r.waiting, func(c *Config) { c.Platform = catalogueOf("malware--1") })
	defer r.Close()
	r.finish(t, pipeline.Complete)
	if len(r.ids()) != 1 {
		t.Errorf("sent %q once OpenCTI has what it lacked", r.ids())
	}
}

func TestWhatRefersToWhatIsNotTakenComesToAnEnd(t *testing.T) {
	for name, held := range map[string]bool{"OpenCTI has nothing of it": false, "OpenCTI has a version before": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(1, memoryIndex{}, newMemoryStore(), nil)
			hub, spoke := object(t, hubText), object(t, spokeText)
			r.put(t, hub, spoke)
			r.finish(t, pipeline.Complete)
			r.fail(spoke, index.Lost)
			r.fail(hub, index.Refused)
			platform := catalogueOf()
			if held {
				platform = catalogueOf(hub.ID)
			}
			sent := 0
			for run := range uint32(4) {
				r = mend(t, run+2, r, platform)
				sent += len(r.queue.messages)
			}
			if sent != 1 {
				t.Errorf("%d messages for what refers to it", sent)
			}
			r = newRig(9, r.index, r.waiting, func(c *Config) { c.Platform = platform })
			defer r.Close()
			r.put(t, hub)
			r.finish(t, pipeline.Complete)
			if slices.Contains(r.ids(), hub.ID) {
				t.Error("the same version was sent again")
			}
			hub.Digest++
			r.put(t, hub)
			r.finish(t, pipeline.Complete)
			if want := []string{hub.ID, spoke.ID}[:map[bool]int{true: 1, false: 2}[held]]; !slices.Equal(r.ids(), want) {
				t.Errorf("after its change %q were sent, want %q", r.ids(), want)
			}
		})
	}
}

func TestWhatWasReadBackGoesOnceMoreWhenItComesWhole(t *testing.T) {
	const (
		wholeText = `{"type":"report","id":"report--1","modified":"2026-01-01T00:00:01Z","created_by_ref":"identity--1","object_refs":["malware--1"]}`
		readBack  = `{"type":"report","id":"report--1","modified":"2026-01-01T00:00:01Z","object_refs":["malware--1"]}`
	)
	for name, tt := range map[string]struct {
		batch    int  // objects in one
		known    bool // what it refers to was delivered
		nextRun  bool // it comes whole in the next run only
		messages int  // of the object
	}{
		"while its copy is on its way":                 {batch: 100, known: true, messages: 2},
		"after its copy went":                          {batch: 1, known: true, messages: 2},
		"while its copy waits":                         {batch: 100, messages: 1},
		"in the next run":                              {batch: 1, known: true, nextRun: true, messages: 1},
		"in the next run, after its copy went without": {batch: 1, nextRun: true, messages: 1},
	} {
		t.Run(name, func(t *testing.T) {
			poor, whole := object(t, readBack), object(t, wholeText)
			poor.Digest = 0
			store := newMemoryStore()
			_, _ = store.Save(t.Context(), []index.Waiter{{Object: poor, Kind: index.Unimported}})
			records := memoryIndex{index.KeyOf(poor.ID): {Modified: poor.Modified.UnixMicro(), Run: 1, Seq: 1, Mark: index.Lost}}
			if tt.known {
				records[index.KeyOf("malware--1")] = index.Record{Digest: 1, Run: 1, Seq: 1, Day: index.DayOf(time.Now())}
			}
			platform := catalogueOf("identity--1")
			start := func(run uint32) *rig {
				r := newRig(run, records, store, func(c *Config) { c.Platform, c.BatchObjects = platform, tt.batch })
				if err := r.Recover(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := r.Tick(t.Context()); err != nil {
					t.Fatal(err)
				}
				return r
			}
			r := start(2)
			if tt.nextRun {
				r.finish(t, pipeline.Complete)
				r.Close()
				r = start(3)
			}
			r.put(t, whole)
			r.finish(t, pipeline.Complete)
			r.Close()
			last := r.queue.messages[len(r.queue.messages)-1]
			if n := len(r.queue.messages); n != tt.messages || !strings.Contains(fmt.Sprint(last.object), "identity--1") {
				t.Errorf("%d messages, the last is %v", n, last.object)
			}
			if rec := records[index.KeyOf(whole.ID)]; rec.Digest == 0 || rec.Mark == index.Lost || rec.Mark == index.Refused {
				t.Errorf("the index knows %+v", rec)
			}
			if w, found, _ := store.Get(whole.ID); found && string(w.Object.JSON) != wholeText || found == tt.known {
				t.Errorf("on the shelf: %t, %s", found, w.Object.JSON)
			}
			r = start(4)
			defer r.Close()
			r.put(t, whole)
			r.finish(t, pipeline.Complete)
			if len(r.ids()) > 0 {
				t.Errorf("sent %q once more", r.ids())
			}
		})
	}
}

func TestWhatACopyWentWithoutStaysOnTheShelfWhenThePoorerOneIsDelivered(t *testing.T) {
	poor := object(t, `{"type":"report","id":"report--1","modified":"2026-01-01T00:00:01Z","object_refs":[]}`)
	whole := object(t, `{"type":"report","id":"report--1","modified":"2026-01-01T00:00:01Z","object_refs":["malware--1"]}`)
	poor.Digest = 0
	store := newMemoryStore()
	_, _ = store.Save(t.Context(), []index.Waiter{{Object: poor, Kind: index.Unimported}})
	records := memoryIndex{index.KeyOf(poor.ID): {Modified: poor.Modified.UnixMicro(), Run: 1, Seq: 1, Mark: index.Lost}}
	r := newRig(2, records, store, func(c *Config) { c.Platform = catalogueOf() })
	defer r.Close()
	if err := r.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.put(t, whole)
	r.finish(t, pipeline.Complete)
	if !store.Has(whole.ID) {
		t.Error("the whole object, which went without what nothing brings, is not on the shelf")
	}
}

func TestWhatAWorkerWouldNotReportIsLarge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.SampledFrom([]string{"a", "ü", "😀", ",", "\u007f", `\"`, "\n", "x,y:z "}).Draw(t, "part")
		text, err := json.Marshal(map[string]any{"id": "note--1", "content": strings.Repeat(part, rapid.IntRange(0, 60_000).Draw(t, "times")), "list": make([]int, rapid.IntRange(0, 30_000).Draw(t, "list"))})
		if err != nil {
			t.Fatal(err)
		}
		if reported := reportedLength(text); reported >= reportedWhole && !mayBeLarge(text) {
			t.Fatalf("%d bytes, of which a worker makes %d characters", len(text), reported)
		}
		if len(text) < 4000 && mayBeLarge(text) {
			t.Fatalf("%d bytes are large", len(text))
		}
	})
}

// reportedLength is how long a text gets that a worker reports, with blanks and escapes.
func reportedLength(text []byte) (n int) {
	inString, escaped := false, false
	for _, r := range string(text) {
		switch {
		case r > 0xffff:
			n += 6 * len(utf16.AppendRune(nil, r))
		case r >= 0x7f:
			n += 6
		case (r == ',' || r == ':') && !inString:
			n += 2
		default:
			n++
		}
		if r == '"' && !escaped {
			inString = !inString
		}
		escaped = r == '\\' && !escaped
	}
	return n
}
