package emit

import (
	"maps"
	"slices"
	"testing"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// unwanted is an object that a filter leaves out.
func unwanted(t *testing.T, text string) pipeline.Object {
	t.Helper()
	o := object(t, text)
	o.Filtered, o.JSON = pipeline.Unwanted, nil
	return o
}

// strict is a copy of an object that is marked too strictly, and plain is one that states no marking.
func strict(t *testing.T) pipeline.Object { return marked(t, `"object_marking_refs":["`+tlpRed+`"]`) }
func plain(t *testing.T) pipeline.Object  { return marked(t, `"x":1`) }

func marked(t *testing.T, member string) pipeline.Object {
	t.Helper()
	objects, err := white(t).Transform(t.Context(), pipeline.Item{Data: []byte(with(member))})
	if err != nil {
		t.Fatal(err)
	}
	o := objects[len(objects)-1]
	if o.Stated.Level == 6 {
		o.Filtered = pipeline.TooStrict
	}
	return o
}

const listText = `{"type":"report","id":"report--2","modified":"2026-01-01T00:00:01Z","object_refs":["malware--1","relationship--1","tool--1"]}`

func TestNothingWaitsForWhatAFilterLeavesOut(t *testing.T) {
	for name, before := range map[string]bool{"that comes first": true, "that comes last": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(1, memoryIndex{}, newMemoryStore(), nil)
			if before {
				r.put(t, unwanted(t, hubText))
			}
			outcomes := r.put(t, object(t, toolText), object(t, linkText), object(t, listText))
			if !before {
				r.put(t, unwanted(t, hubText))
			}
			r.finish(t, pipeline.Complete)
			if want := []string{"tool--1", "report--2"}; !slices.Equal(r.ids(), want) {
				t.Errorf("sent %v, want %v", r.ids(), want)
			}
			if refs := r.queue.messages[len(r.queue.messages)-1].refs(); !slices.Equal(refs, []string{"tool--1"}) {
				t.Errorf("the report refers to %v", refs)
			}
			a := r.Account()
			if len(r.waiting.byID) > 0 || !isDelivered(outcomes) || a.Filtered != 1 || a.Held != 0 {
				t.Errorf("%d wait on disk, settled as %v, account %+v", len(r.waiting.byID), *outcomes, a)
			}
			// A later run that brings all of it again sends nothing, and keeps nothing.
			next := newRig(2, r.index, r.waiting, nil)
			outcomes = next.put(t, object(t, toolText), object(t, linkText), object(t, listText))
			next.finish(t, pipeline.Complete)
			if len(next.ids()) > 0 || len(next.waiting.byID) > 0 || !isDelivered(outcomes) {
				t.Errorf("again: sent %v, waiting %v, settled as %v", next.ids(), slices.Collect(maps.Keys(next.waiting.byID)), *outcomes)
			}
		})
	}
}

func TestWhatWaitedOnDiskForWhatAFilterLeavesOutGoesOrIsForgotten(t *testing.T) {
	r := newRig(1, memoryIndex{}, newMemoryStore(), nil)
	r.put(t, object(t, toolText), object(t, linkText), object(t, listText))
	r.finish(t, pipeline.Complete)
	if r.Account().Held != 1 || len(r.waiting.byID) != 2 {
		t.Fatalf("%+v, %d wait", r.Account(), len(r.waiting.byID))
	}
	next := newRig(2, r.index, r.waiting, nil)
	next.put(t, unwanted(t, hubText))
	next.finish(t, pipeline.Interrupted) // it did not come to its end
	last := newRig(3, next.index, next.waiting, nil)
	if err := last.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	last.finish(t, pipeline.Complete)
	if len(last.waiting.byID) > 0 || len(next.ids())+len(last.ids()) > 0 {
		t.Errorf("waiting %v, sent %v and %v", slices.Collect(maps.Keys(last.waiting.byID)), next.ids(), last.ids())
	}
}

func TestOneCopyThatPassesIsEnough(t *testing.T) {
	for name, order := range map[string][]bool{"first": {true, false}, "last": {false, true}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(1, memoryIndex{}, newMemoryStore(), nil)
			r.put(t, object(t, toolText), object(t, linkText))
			for _, passes := range order {
				if passes {
					r.put(t, object(t, hubText))
				} else {
					r.put(t, unwanted(t, hubText))
				}
			}
			r.finish(t, pipeline.Complete)
			if want := []string{"malware--1", "relationship--1", "tool--1"}; !slices.Equal(slices.Sorted(slices.Values(r.ids())), want) || r.Account().Filtered != 0 {
				t.Errorf("sent %v, want %v; %+v", r.ids(), want, r.Account())
			}
		})
	}
}

func TestWhatOpenCTIHoldsMayBeReferredToThoughAFilterLeavesItOut(t *testing.T) {
	r := newRig(1, memoryIndex{}, newMemoryStore(), func(c *Config) { c.Platform = catalogueOf("malware--1") })
	r.put(t, unwanted(t, hubText), object(t, toolText), object(t, linkText))
	r.finish(t, pipeline.Complete)
	if want := []string{"tool--1", "relationship--1"}; !slices.Equal(r.ids(), want) {
		t.Errorf("sent %v, want %v", r.ids(), want)
	}
}

func TestACopyThatIsMarkedTooStrictlyCountsForAllOfItsVersion(t *testing.T) {
	r := newRig(1, memoryIndex{}, newMemoryStore(), nil)
	r.put(t, strict(t))
	outcomes := r.put(t, plain(t))
	r.finish(t, pipeline.Complete)
	if slices.Contains(r.ids(), copiedID) || r.Account().Barred != 1 || !isDelivered(outcomes) {
		t.Errorf("sent %v, settled as %v, %+v", r.ids(), *outcomes, r.Account())
	}
	later := newRig(2, r.index, r.waiting, nil)
	newer := plain(t)
	newer.Modified = newer.Modified.AddDate(0, 0, 1)
	newer.Digest++
	later.put(t, plain(t))
	later.put(t, newer)
	later.finish(t, pipeline.Complete)
	if n := len(later.ids()); !slices.Contains(later.ids(), copiedID) || later.Account().Barred != 1 || n > 3 {
		t.Errorf("the newer version: sent %v, %+v", later.ids(), later.Account())
	}
}

func TestWhatHasGoneGetsTheStricterMarkingThatComesTooLate(t *testing.T) {
	r := newRig(1, memoryIndex{}, newMemoryStore(), nil)
	r.put(t, plain(t))
	r.finish(t, pipeline.Complete)
	next := newRig(2, r.index, r.waiting, nil)
	next.put(t, strict(t))
	next.finish(t, pipeline.Complete)
	last := next.queue.messages[len(next.queue.messages)-1]
	if last.id != copiedID || !last.isAddition() || !slices.Contains(last.refs(), tlpRed) || last.object["x"] != nil {
		t.Errorf("%v", last.object)
	}
	again := newRig(3, next.index, next.waiting, nil)
	again.put(t, strict(t))
	again.finish(t, pipeline.Complete)
	if len(again.ids()) > 0 {
		t.Errorf("sent again: %v", again.ids())
	}
}

func TestWhatWaitsIsDroppedForAStricterCopy(t *testing.T) {
	r := newRig(1, memoryIndex{}, newMemoryStore(), nil)
	waits := marked(t, `"a_ref":"tool--1"`)
	outcomes := r.put(t, waits)
	r.put(t, strict(t))
	r.put(t, object(t, toolText))
	r.finish(t, pipeline.Complete)
	if slices.Contains(r.ids(), copiedID) || !isDelivered(outcomes) || r.Account().Barred != 1 || len(r.waiting.byID) > 0 {
		t.Errorf("sent %v, settled as %v, %+v", r.ids(), *outcomes, r.Account())
	}
}

func TestTheIndexKeepsThatAnObjectIsFiltered(t *testing.T) {
	r := newRig(1, memoryIndex{}, newMemoryStore(), nil)
	alt := unwanted(t, `{"type":"malware","id":"malware--1","x_opencti_id":"m"}`)
	r.put(t, alt)
	r.finish(t, pipeline.Complete)
	for _, id := range []string{"malware--1", "m"} {
		if rec := r.index[index.KeyOf(id)]; rec.Filtered != pipeline.Unwanted || rec.Mark != index.Lost {
			t.Errorf("%s: %+v", id, rec)
		}
	}
}

// TestAMarkingCountsThoughItsCopyIsLeftOutForSomethingElse: the copy comes before the one that passes, or after it.
func TestAMarkingCountsThoughItsCopyIsLeftOutForSomethingElse(t *testing.T) {
	for name, before := range map[string]bool{"before": true, "after": false} {
		r := newRig(1, memoryIndex{}, newMemoryStore(), nil)
		other := strict(t)
		other.Filtered = pipeline.Unwanted
		if before {
			r.put(t, other, plain(t))
		} else {
			r.put(t, plain(t), other)
		}
		r.finish(t, pipeline.Complete)
		var marks []string
		for _, m := range r.queue.messages {
			if m.id == copiedID {
				marks = append(marks, m.refs()...)
			}
		}
		if !slices.Contains(marks, tlpRed) {
			t.Errorf("%s: %s has %v in %v", name, copiedID, marks, r.ids())
		}
	}
}

func TestWhatIsBarredDoesNotStayOnDisk(t *testing.T) {
	link := object(t, linkText)
	r := newRig(1, memoryIndex{}, newMemoryStore(), nil)
	r.put(t, object(t, toolText), link)
	r.finish(t, pipeline.Complete)
	if len(r.waiting.byID) != 1 {
		t.Fatalf("%d wait", len(r.waiting.byID))
	}
	red := link
	red.Filtered, red.Stated.Level = pipeline.TooStrict, 6
	next := newRig(2, r.index, r.waiting, nil)
	next.put(t, red)
	next.finish(t, pipeline.Complete)
	last := newRig(3, r.index, r.waiting, nil)
	last.put(t, object(t, hubText)) // what it waited for
	last.finish(t, pipeline.Complete)
	if slices.Contains(last.ids(), link.ID) || len(last.waiting.byID) > 0 {
		t.Errorf("sent %v, %d wait", last.ids(), len(last.waiting.byID))
	}
}
