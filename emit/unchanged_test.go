package emit

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// judged returns a rig of a run that is judged by itself.
func judged(run uint32, x memoryIndex, waiting *memoryStore, change func(*Config)) *rig {
	return newRig(run, x, waiting, func(c *Config) {
		c.Anew = true
		if change != nil {
			change(c)
		}
	})
}

func TestAnItemOfWhichNothingIsNewIsNotJudgedAgain(t *testing.T) {
	author := object(t, `{"type":"identity","id":"identity--1","name":"author"}`)
	tool := func(n int, more string) pipeline.Object {
		return object(t, fmt.Sprintf(`{"type":"tool","id":"tool--%d","created_by_ref":"identity--1"%s}`, n, more))
	}
	stated := func(o pipeline.Object, s pipeline.Stated) pipeline.Object { o.Stated = s; return o }
	filtered := func(o pipeline.Object, why pipeline.Filtered, level uint8) pipeline.Object {
		o.Filtered, o.Stated.Level = why, level
		return o
	}
	const later = `,"modified":"2026-01-01T00:00:00Z"`
	relation := object(t, `{"type":"relationship","id":"relationship--1","source_ref":"tool--1","target_ref":"tool--9"`+later+`}`)
	toTwo := object(t, `{"type":"relationship","id":"relationship--1","source_ref":"tool--1","target_ref":"tool--2"}`)
	report := object(t, `{"type":"report","id":"report--1","object_refs":["tool--1","tool--9"]}`)
	labelled := stated(tool(1, `,"labels":["b"]`), pipeline.Stated{Labels: 2})
	byNobody := stated(object(t, `{"type":"tool","id":"tool--1","created_by_ref":"identity--9"}`), pipeline.Stated{Author: 9})
	outvoted := byNobody
	outvoted.Digest = 1 // the other copy has the last word
	spelled := func(name string) pipeline.Object {
		o := object(t, `{"type":"attack-pattern","id":"attack-pattern--1","name":"`+name+`"}`)
		o.Weak = true
		return o
	}
	type item = []pipeline.Object
	plain := []item{{author, tool(1, ""), tool(2, "")}}
	for _, tt := range []struct {
		name          string
		before, again []item
		change        func(*Config)
		want          string // what is sent again
	}{
		{"nothing is new", plain, plain, nil, ""},
		{"an object has changed", plain, []item{{author, tool(1, ""), tool(2, `,"name":"other"`)}}, nil, "identity--1 tool--1 tool--2"},
		{"an object has come", plain, []item{{author, tool(1, ""), tool(2, ""), tool(3, "")}}, nil, "identity--1 tool--1 tool--2 tool--3"},
		{"another item is new", plain, []item{{author, tool(1, ""), tool(2, "")}, {author, tool(3, "")}, {author, tool(2, "")}}, nil, "identity--1 tool--3"},
		{"all is wanted", plain, plain, func(c *Config) { c.EvenUnchanged = true }, "identity--1 tool--1 tool--2"},
		{"OpenCTI may not have imported it", plain, plain, func(c *Config) { c.Doubted = map[uint32]bool{1: true} }, "identity--1 tool--1 tool--2"},
		{"a relation has no end", []item{{author, tool(1, ""), relation}}, []item{{author, tool(1, ""), relation}}, nil, ""},
		{"a reference leads nowhere", []item{{author, tool(1, ""), report}}, []item{{author, tool(1, ""), report}}, nil, ""},
		{"a reference led nowhere", []item{{author, tool(1, ""), report}}, []item{{author, tool(9, "")}, {author, tool(1, ""), report}}, nil,
			"identity--1 report--1 tool--1 tool--9"},
		{"a copy has added labels", []item{{author, tool(1, "")}, {labelled}}, []item{{author, tool(1, "")}, {labelled}}, nil, ""},
		{"a copy adds labels", []item{{author, tool(1, "")}}, []item{{author, tool(1, "")}, {author, labelled}}, nil, "identity--1 tool--1"},
		{"an end is filtered", []item{{author, tool(1, ""), filtered(tool(9, ""), pipeline.Unwanted, 0), relation}},
			[]item{{author, tool(1, ""), filtered(tool(9, ""), pipeline.Unwanted, 0), relation}}, nil, ""},
		{"a stricter copy was filtered", []item{{author, tool(1, "")}, {filtered(tool(1, `,"name":"red"`), pipeline.TooStrict, 6)}},
			[]item{{author, tool(1, "")}, {filtered(tool(1, `,"name":"red"`), pipeline.TooStrict, 6)}}, nil, ""},
		{"an author is missing", []item{{byNobody}}, []item{{byNobody}}, nil, ""},
		{"the author that a copy adds is missing", []item{{author, tool(1, "")}, {outvoted}}, []item{{author, tool(1, "")}, {outvoted}}, nil, ""},
		{"an older version", []item{{author, tool(1, later)}}, []item{{author, tool(1, "")}}, nil, ""},
		{"another spelling of a derived object", []item{{spelled("T1")}}, []item{{spelled("t1")}}, nil, ""},
		{"a stricter copy is filtered", plain, []item{{author, tool(1, ""), tool(2, ""), filtered(tool(1, `,"name":"red"`), pipeline.TooStrict, 6)}}, nil,
			"identity--1 tool--1 tool--2"},
		{"a stricter copy of another version was filtered", []item{{author, tool(1, "")}, {filtered(tool(1, later), pipeline.TooStrict, 6)}},
			[]item{{author, tool(1, "")}, {filtered(tool(1, later), pipeline.TooStrict, 6)}}, nil, ""},
		{"a later version of a relation has no end", []item{{author, tool(1, ""), tool(2, ""), toTwo}, {relation}}, []item{{relation}}, nil, ""},
		{"an object is too large", []item{{author, tool(1, ""), tool(2, strings.Repeat(" ", 3000)+`,"name":"`+strings.Repeat("x", 3000)+`"`)}},
			[]item{{author, tool(1, ""), tool(2, strings.Repeat(" ", 3000)+`,"name":"`+strings.Repeat("x", 3000)+`"`)}}, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x, waiting := memoryIndex{}, newMemoryStore()
			small := func(c *Config) {
				c.MaxMessageBytes = 3000
				if tt.change != nil && c.Run == 2 {
					tt.change(c)
				}
			}
			first := judged(1, x, waiting, small)
			for _, objects := range tt.before {
				first.put(t, objects...)
			}
			first.finish(t, pipeline.Complete)
			second := judged(2, x, waiting, small)
			for _, objects := range tt.again {
				if outcomes := second.put(t, objects...); tt.want == "" && !isDelivered(outcomes) {
					t.Errorf("the item is %v", *outcomes)
				}
			}
			second.finish(t, pipeline.Complete)
			ids := slices.Sorted(slices.Values(second.ids()))
			if got := strings.Join(slices.Compact(ids), " "); got != tt.want {
				t.Errorf("the first run sent %v, the second %s, want %s", first.ids(), got, tt.want)
			}
			if tt.want == "" && second.works.opened > 0 {
				t.Error("the second run has a work")
			}
		})
	}
}

func TestAnItemThatACrashHasCutShortIsJudgedWhole(t *testing.T) {
	one, two, three := object(t, toolText), object(t, `{"type":"malware","id":"malware--1","a_ref":"tool--1"}`), object(t, `{"type":"malware","id":"malware--2","a_ref":"malware--1"}`)
	for sent := 1; sent <= 3; sent++ {
		x, waiting := memoryIndex{}, newMemoryStore()
		first := judged(1, x, waiting, nil)
		first.queue.crashAt = sent
		err := errors.Join(first.Put(t.Context(), pipeline.Item{}, []pipeline.Object{one, two, three}, func(pipeline.Outcome) {}), first.Finish(t.Context(), pipeline.Complete))
		if !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		second := judged(2, x, waiting, nil)
		outcomes := second.put(t, one, two, three)
		second.finish(t, pipeline.Complete)
		if want := map[bool]int{true: 0, false: 3}[sent == 3]; len(second.ids()) != want || !isDelivered(outcomes) {
			t.Errorf("of %d that were confirmed before come again %v, %v", sent, second.ids(), *outcomes)
		}
	}
}

func TestWhatACrashHasKeptFromBeingAddedIsJudged(t *testing.T) {
	labelled := object(t, `{"type":"tool","id":"tool--1","labels":["a"]}`)
	labelled.Stated.Labels, labelled.Digest = 1, 1 // another copy has the last word
	x, waiting := memoryIndex{}, newMemoryStore()
	first := judged(1, x, waiting, nil)
	first.queue.crashAt = 1
	first.put(t, object(t, toolText))
	first.put(t, labelled)
	if err := first.Finish(t.Context(), pipeline.Complete); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	second := judged(2, x, waiting, nil)
	second.put(t, labelled)
	second.finish(t, pipeline.Complete)
	if !slices.ContainsFunc(second.queue.messages, func(m message) bool { return m.object["labels"] != nil }) {
		t.Errorf("sent %v", second.ids())
	}
}

// An object that was sent without a reference comes again. What else it refers to is old, and would be asked for if it went.
func TestWhetherAnItemIsUnchangedIsNoQuestionToOpenCTI(t *testing.T) {
	x, waiting := memoryIndex{}, newMemoryStore()
	tool, report := object(t, toolText), object(t, `{"type":"report","id":"report--1","object_refs":["tool--1","tool--9"]}`)
	first := judged(1, x, waiting, nil)
	first.put(t, tool, report)
	first.finish(t, pipeline.Complete)
	rec := x[index.KeyOf("tool--1")]
	rec.Day -= 30
	x[index.KeyOf("tool--1")] = rec
	platform := catalogueOf("tool--1")
	second := judged(2, x, waiting, func(c *Config) { c.Platform, c.VerifyAfter = platform, 7*24*time.Hour })
	second.put(t, report)
	second.finish(t, pipeline.Complete)
	if asked := platform.take(); slices.Contains(asked, "") {
		t.Errorf("OpenCTI was asked for %q", asked)
	}
	if sent := second.ids(); len(sent) > 0 {
		t.Errorf("nothing is new, but %q went", sent)
	}
}
