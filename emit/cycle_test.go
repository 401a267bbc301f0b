package emit

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// sentRefs lists what each object that arrived refers to, at last.
func sentRefs(r *rig) map[string][]string {
	refs := map[string][]string{}
	for _, m := range r.queue.messages {
		refs[m.id] = m.refs()
	}
	return refs
}

func TestWhichReferenceOfACycleIsCutDoesNotDependOnTheOrderOfArrival(t *testing.T) {
	for i := range 10 { // a hundred graphs each
		t.Run(fmt.Sprint(i), func(t *testing.T) { rapid.Check(t, checkCuts) })
	}
}

func checkCuts(t *rapid.T) {
	types := []string{"report", "note", "relationship", "marking-definition", "sighting"}
	ids := make([]string, rapid.IntRange(2, 9).Draw(t, "objects"))
	for i := range ids {
		ids[i] = fmt.Sprintf("%s--%08d-0000-4000-8000-000000000000", rapid.SampledFrom(types).Draw(t, "type"), i)
	}
	ref := rapid.SampledFrom(ids)
	var objects []pipeline.Object
	for _, id := range ids {
		var refs []string
		for range 4 {
			if r := ref.Draw(t, "ref"); r != id && !slices.Contains(refs, r) {
				refs = append(refs, r)
			}
		}
		// No circle of relations alone: there one is held back, and what it was to whom depends on when.
		isRelation := func(r string) bool { return strings.HasPrefix(r, "relationship") || strings.HasPrefix(r, "sighting") }
		slices.SortStableFunc(refs, func(a, b string) int {
			switch {
			case isRelation(a) == isRelation(b):
				return 0
			case isRelation(b):
				return -1
			}
			return 1
		})
		hasEnds := len(refs) > 1 && !isRelation(refs[1])
		typ, _, _ := strings.Cut(id, "--")
		text := fmt.Sprintf(`{"type":%q,"id":%q`, typ, id)
		switch {
		case typ == "relationship" && hasEnds:
			text += fmt.Sprintf(`,"source_ref":%q,"target_ref":%q`, refs[0], refs[1])
			refs = refs[2:]
		case typ == "sighting" && hasEnds:
			text += fmt.Sprintf(`,"sighting_of_ref":%q,"where_sighted_refs":[%q]`, refs[0], refs[1])
			refs = refs[2:]
		case typ == "relationship" || typ == "sighting":
			text = strings.NewReplacer("relationship", "grouping", "sighting", "grouping").Replace(text)
			text = strings.Replace(text, `"id":"grouping--`, `"id":"`+typ+`--`, 1)
		}
		if len(refs) > 0 {
			text += `,"object_refs":["` + strings.Join(refs, `","`) + `"]`
		}
		objects = append(objects, object(t, text+"}"))
	}
	// All references lead to what comes, so that every component is closed at last.
	var want map[string][]string
	for try := range 4 {
		r := newRig(1, memoryIndex{}, newMemoryStore(), func(c *Config) { c.BatchObjects = rapid.IntRange(1, 4).Draw(t, "batch") })
		order := objects
		if try > 0 {
			order = rapid.Permutation(objects).Draw(t, "order")
		}
		for len(order) > 0 {
			n := rapid.IntRange(1, len(order)).Draw(t, "item")
			if err := r.Put(t.Context(), pipeline.Item{Dataset: "profiles"}, order[:n], func(pipeline.Outcome) {}); err != nil {
				t.Fatal(err)
			}
			order = order[n:]
			if rapid.Bool().Draw(t, "tick") {
				if err := r.Tick(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := r.Finish(t.Context(), pipeline.Complete); err != nil {
			t.Fatal(err)
		}
		got := sentRefs(r)
		if want == nil {
			want = got
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("another order, other cuts (-first +now):\n%s", diff)
		}
	}
}

func TestACycleIsCutWhereItHurtsLeast(t *testing.T) {
	for name, c := range map[string]struct {
		objects []string
		want    map[string][]string
	}{
		"the end of a relation is spared": {
			[]string{
				`{"type":"report","id":"report--1","object_refs":["relationship--1"]}`,
				`{"type":"relationship","id":"relationship--1","source_ref":"report--1","target_ref":"tool--1"}`,
				`{"type":"tool","id":"tool--1"}`,
			},
			map[string][]string{"report--1": nil, "relationship--1": {"report--1", "tool--1"}, "tool--1": nil},
		},
		"a marking is spared": {
			[]string{
				`{"type":"identity","id":"identity--1","object_marking_refs":["marking-definition--1"]}`,
				`{"type":"marking-definition","id":"marking-definition--1","created_by_ref":"identity--1"}`,
			},
			map[string][]string{"identity--1": {"marking-definition--1"}, "marking-definition--1": nil},
		},
		"a marking is spared where the circle closes with it": {
			[]string{
				`{"type":"note","id":"note--1","object_marking_refs":["marking-definition--1"]}`,
				`{"type":"marking-definition","id":"marking-definition--1","created_by_ref":"note--1"}`,
			},
			map[string][]string{"note--1": {"marking-definition--1"}, "marking-definition--1": nil},
		},
		"the subject of a sighting is spared": {
			[]string{
				`{"type":"note","id":"note--1","object_refs":["sighting--1"]}`,
				`{"type":"sighting","id":"sighting--1","sighting_of_ref":"note--1","where_sighted_refs":["identity--1"]}`,
				`{"type":"identity","id":"identity--1"}`,
			},
			map[string][]string{"note--1": nil, "sighting--1": {"identity--1", "note--1"}, "identity--1": nil},
		},
		"one of several places of a sighting is not": {
			[]string{
				`{"type":"identity","id":"identity--1","object_marking_refs":["marking-definition--1"]}`,
				`{"type":"marking-definition","id":"marking-definition--1","object_refs":["sighting--1"]}`,
				`{"type":"sighting","id":"sighting--1","sighting_of_ref":"tool--1","where_sighted_refs":["identity--1","identity--2"]}`,
				`{"type":"tool","id":"tool--1"}`, `{"type":"identity","id":"identity--2"}`,
			},
			map[string][]string{
				"identity--1": {"marking-definition--1"}, "marking-definition--1": {"sighting--1"},
				"sighting--1": {"identity--2", "tool--1"}, "tool--1": nil, "identity--2": nil,
			},
		},
		"two relations that are each other's ends": {
			[]string{
				`{"type":"relationship","id":"relationship--1","source_ref":"relationship--2","target_ref":"tool--1"}`,
				`{"type":"relationship","id":"relationship--2","source_ref":"relationship--1","target_ref":"tool--1"}`,
				`{"type":"tool","id":"tool--1"}`,
			},
			map[string][]string{"tool--1": nil},
		},
		"by second ids": {
			[]string{
				`{"type":"report","id":"report--1","x_opencti_id":"5a5a0000-0000-4000-8000-000000000001","object_refs":["note--1"]}`,
				`{"type":"note","id":"note--1","object_refs":["5a5a0000-0000-4000-8000-000000000001"]}`,
			},
			map[string][]string{"note--1": {"5a5a0000-0000-4000-8000-000000000001"}, "report--1": nil},
		},
		"by both ids at once": {
			[]string{
				`{"type":"note","id":"note--1","x_opencti_id":"5a5a0000-0000-4000-8000-000000000001","object_refs":["report--1"]}`,
				`{"type":"report","id":"report--1","object_refs":["5a5a0000-0000-4000-8000-000000000001","note--1"]}`,
			},
			map[string][]string{"note--1": {"report--1"}, "report--1": nil},
		},
		"a relation, by its second id": {
			[]string{
				`{"type":"note","id":"note--1","x_opencti_id":"5a5a0000-0000-4000-8000-000000000001","object_refs":["relationship--1"]}`,
				`{"type":"relationship","id":"relationship--1","source_ref":"5a5a0000-0000-4000-8000-000000000001","target_ref":"tool--1"}`,
				`{"type":"tool","id":"tool--1"}`,
			},
			map[string][]string{"note--1": nil, "relationship--1": {"5a5a0000-0000-4000-8000-000000000001", "tool--1"}, "tool--1": nil},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				r := newRig(1, memoryIndex{}, newMemoryStore(), nil)
				var settled []*[]pipeline.Outcome
				for _, text := range c.objects {
					settled = append(settled, r.put(t, object(t, text)))
				}
				r.finish(t, pipeline.Complete)
				if got := sentRefs(r); !maps.EqualFunc(got, c.want, slices.Equal) {
					t.Errorf("sent %v, want %v", got, c.want)
				}
				for i, outcomes := range settled {
					if !slices.Contains(*outcomes, pipeline.Delivered) {
						t.Errorf("%s was not settled: %v", c.objects[i], *outcomes)
					}
				}
				again := newRig(2, r.index, r.waiting, nil)
				for _, text := range c.objects {
					again.put(t, object(t, text))
				}
				again.finish(t, pipeline.Complete)
				if len(again.queue.messages) > 0 {
					t.Errorf("a second run sent %q", again.ids())
				}
				slices.Reverse(c.objects)
			}
		})
	}
}

func TestACycleIsFreedBeforeTheRunEnds(t *testing.T) {
	r := newRig(1, memoryIndex{}, newMemoryStore(), func(c *Config) { c.BatchObjects = 1 })
	r.put(t, object(t, `{"type":"report","id":"report--1","object_refs":["note--1"]}`))
	r.put(t, object(t, `{"type":"note","id":"note--1","object_refs":["report--1"]}`))
	if err := r.Tick(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := r.ids(), []string{"report--1", "note--1"}; len(got) != 2 {
		t.Errorf("sent %q before the end, want %q", got, want)
	}
}

func TestANewerVersionThatOpensACircleBringsTheRelationThatGaveWay(t *testing.T) {
	waiting := newMemoryStore()
	r := newRig(1, memoryIndex{}, waiting, nil)
	for _, text := range []string{
		`{"type":"relationship","id":"relationship--1","modified":"2026-01-01T00:00:01Z","source_ref":"relationship--2","target_ref":"tool--1"}`,
		`{"type":"relationship","id":"relationship--2","modified":"2026-01-01T00:00:01Z","source_ref":"relationship--1","target_ref":"tool--1"}`,
		`{"type":"tool","id":"tool--1"}`,
	} {
		r.put(t, object(t, text))
	}
	r.finish(t, pipeline.Complete)
	r = newRig(2, r.index, waiting, nil)
	r.put(t, object(t, `{"type":"relationship","id":"relationship--1","modified":"2026-01-01T00:00:02Z","source_ref":"tool--1","target_ref":"tool--1"}`))
	r.finish(t, pipeline.Complete)
	if got, want := r.ids(), []string{"relationship--1", "relationship--2"}; !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
}
