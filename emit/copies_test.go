package emit

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
	"github.com/opencti-connectors/threatmatch/transform"
)

// drawCopies draws copies of a few objects that differ in their dates, in what they state beside their text, and where it may be
// in the texts of one version.
func drawCopies(t *rapid.T, differing bool) []pipeline.Item {
	const red, green, own = "marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed", "marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da", "marking-definition--00000000-0000-4000-8000-000000000001"
	bodies := []string{
		`{"type":"identity","id":"identity--00000000-0000-4000-8000-000000000001","name":"author one","identity_class":"organization"}`,
		`{"type":"identity","id":"identity--00000000-0000-4000-8000-000000000002","name":"author two","identity_class":"organization"}`,
		`{"type":"marking-definition","id":"` + own + `","definition_type":"statement","definition":{"statement":"ours"}}`,
	}
	some := func(name string, of ...string) []string {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(of), 0, 2, rapid.ID[string]).Draw(t, name)
	}
	for range rapid.IntRange(2, 6).Draw(t, "copies") {
		members := map[string]any{
			"type": "malware", "is_family": true, "name": "m",
			"id": fmt.Sprintf("malware--00000000-0000-4000-8000-00000000000%d", rapid.IntRange(1, 2).Draw(t, "object")),
		}
		day := rapid.IntRange(0, 3).Draw(t, "modified")
		if day > 0 {
			members["modified"] = fmt.Sprintf("2025-01-0%dT00:00:00.000Z", day)
		}
		members["description"] = fmt.Sprint("text ", day)
		if differing {
			members["description"] = rapid.SampledFrom([]string{"a", "b"}).Draw(t, "description")
		}
		if authors := some("author", "identity--00000000-0000-4000-8000-000000000001", "identity--00000000-0000-4000-8000-000000000002"); len(authors) == 1 {
			members["created_by_ref"] = authors[0]
		}
		if markings := some("markings", red, green, own); len(markings) > 0 {
			members["object_marking_refs"] = markings
		}
		if labels := some("labels", "x", "y", "z"); len(labels) > 0 {
			members["labels"] = labels
		}
		if urls := some("references", "https://one.example/", "https://two.example/"); len(urls) > 0 {
			var references []any
			for _, url := range urls {
				references = append(references, map[string]any{"source_name": "s", "url": url})
			}
			members["external_references"] = references
		}
		text, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, string(text))
	}
	var items []pipeline.Item
	for i, text := range bodies {
		items = append(items, pipeline.Item{Dataset: "profiles", ID: fmt.Sprint(i), Data: json.RawMessage(text)})
	}
	return items
}

// folded is what OpenCTI makes of messages: what is said last of each member, but all labels and external references, and all
// markings of a version: it never takes one away, but what was said of an earlier version need not have been said at all.
func folded(messages []message) map[string]map[string]any {
	objects := map[string]map[string]any{}
	for _, m := range messages {
		if !strings.HasPrefix(m.id, "malware--") {
			continue
		}
		o := objects[m.id]
		if o == nil {
			o = map[string]any{}
			objects[m.id] = o
		}
		version := o["modified"]
		for name, value := range m.object {
			switch {
			case name == "labels" || name == "external_references" || name == "object_marking_refs" && (m.isAddition() || m.object["modified"] == version):
				set := map[string]bool{}
				for _, list := range []any{o[name], value} {
					elements, _ := list.([]any)
					for _, e := range elements {
						set[fmt.Sprint(e)] = true
					}
				}
				var all []any
				for _, e := range slices.Sorted(maps.Keys(set)) {
					all = append(all, e)
				}
				o[name] = all
			default:
				o[name] = value
			}
		}
		if markings, ok := o["object_marking_refs"].([]any); ok {
			o["object_marking_refs"] = strictest(markings)
		}
	}
	return objects
}

// strictest leaves of the TLP markings the strictest, as OpenCTI does.
func strictest(markings []any) []any {
	level := func(m any) int {
		return slices.Index([]string{"613f2e26", "34098fce", "f88d31f6", "826578e1", "5e57c739"}, strings.TrimPrefix(fmt.Sprint(m), "marking-definition--")[:8])
	}
	top := -1
	for _, m := range markings {
		top = max(top, level(m))
	}
	markings = slices.Clone(markings)
	slices.SortFunc(markings, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return slices.DeleteFunc(markings, func(m any) bool {
		return level(m) >= 0 && level(m) < top || level(m) == 0 && len(markings) > 1 // white is what none has by default
	})
}

func TestWhatBecomesOfCopiesDependsOnTheDataAlone(t *testing.T) {
	mapper, err := transform.New(transform.Config{TLP: "white", Descriptions: transform.Markdown}) // OpenCTI keeps a stricter one that was sent by default
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		// In a later run another text of the same version is a change, not a copy.
		runs := rapid.Bool().Draw(t, "in two runs")
		items := drawCopies(t, !runs)
		play := func(what string) (string, *rig) {
			settings := func(c *Config) {
				c.Mapping, c.BatchObjects = mappingOf(mapper), rapid.SampledFrom([]int{1, 3, 100}).Draw(t, what+" batch")
			}
			r := newRig(1, memoryIndex{}, newMemoryStore(), settings)
			var all []message
			order := rapid.Permutation(items).Draw(t, what)
			first := 0
			if runs {
				first = rapid.IntRange(0, len(order)).Draw(t, what+" of the first run")
			}
			for run, some := range [][]pipeline.Item{order[:first], order} { // what was listed comes again
				if run > 0 {
					r = newRig(uint32(run)+1, r.index, r.waiting, settings)
				}
				for _, item := range some {
					objects, _ := mapper.Transform(t.Context(), item)
					if err := r.Put(t.Context(), item, objects, func(pipeline.Outcome) {}); err != nil {
						t.Fatal(err)
					}
				}
				if err := r.Finish(t.Context(), pipeline.Complete); err != nil {
					t.Fatal(err)
				}
				all = append(all, r.queue.messages...)
			}
			text, err := json.MarshalIndent(folded(all), "", " ")
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range all {
				if strings.HasPrefix(m.id, "malware--") {
					t.Logf("%s: %v", what, m.object)
				}
			}
			return string(text), r
		}
		one, _ := play("one order")
		other, r := play("another")
		if one != other {
			t.Fatalf("%s\nand in another order\n%s", one, other)
		}
		again := newRig(9, r.index, r.waiting, func(c *Config) { c.Mapping = mappingOf(mapper) })
		for _, item := range items {
			objects, _ := mapper.Transform(t.Context(), item)
			if err := again.Put(t.Context(), item, objects, func(pipeline.Outcome) {}); err != nil {
				t.Fatal(err)
			}
		}
		if err := again.Finish(t.Context(), pipeline.Complete); err != nil {
			t.Fatal(err)
		}
		if len(again.queue.messages) > 0 {
			t.Fatalf("a later run over the same copies sends %v", again.queue.messages[0].object)
		}
	})
}

func TestADateFarAheadDoesNotStandInTheWay(t *testing.T) {
	now := time.Now()
	at := func(name string, modified time.Time) pipeline.Object {
		return object(t, fmt.Sprintf(`{"type":"malware","id":"malware--1","name":%q,"modified":%q}`, name, modified.UTC().Format("2006-01-02T15:04:05.000Z")))
	}
	ahead, sane := at("ahead", now.AddDate(50, 0, 0)), at("sane", now.Add(time.Hour))
	r := newRig(1, memoryIndex{}, newMemoryStore(), nil)
	for run := uint32(2); run < 5; run++ {
		r.put(t, ahead)
		r.finish(t, pipeline.Complete)
		if n := len(r.queue.messages); (n > 0) != (run == 2) {
			t.Errorf("run %d sent %d messages", run, n)
		}
		r = newRig(run, r.index, r.waiting, nil)
	}
	r.put(t, sane)
	r.finish(t, pipeline.Complete)
	if len(r.queue.messages) != 1 {
		t.Errorf("%d messages for a later version with a sane date", len(r.queue.messages))
	}
}

// unmarked and red are copies of one version with the same text.
const (
	unmarked = `{"type":"malware","id":"malware--00000000-0000-4000-8000-000000000001","name":"m","is_family":true,"modified":"2025-01-01T00:00:00.000Z"}`
	tlpRed   = "marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed"
)

var red = strings.Replace(unmarked, `"name"`, `"object_marking_refs":["`+tlpRed+`"],"name"`, 1)

// white maps as the connector does, with TLP:WHITE for what has no marking.
func white(t testing.TB) *transform.Transformer {
	mapper, err := transform.New(transform.Config{TLP: "white", Descriptions: transform.Markdown})
	if err != nil {
		t.Fatal(err)
	}
	return mapper
}

// start begins a run that maps so.
func start(t testing.TB, run uint32, x memoryIndex, store *memoryStore, change func(*Config)) *rig {
	return newRig(run, x, store, func(c *Config) {
		c.Mapping = mappingOf(white(t))
		if change != nil {
			change(c)
		}
	})
}

func (r *rig) serve(t testing.TB, copies ...string) {
	t.Helper()
	for _, text := range copies {
		objects, _ := white(t).Transform(t.Context(), pipeline.Item{Dataset: "profiles", Data: json.RawMessage(text)})
		r.put(t, objects...)
	}
}

// isRed says whether a message of an object says so.
func (r *rig) isRed(id string) bool {
	return slices.ContainsFunc(r.queue.messages, func(m message) bool {
		return m.id == id && strings.Contains(fmt.Sprint(m.object["object_marking_refs"]), tlpRed)
	})
}

func TestAMarkingIsSaidOnlyOnceItIsDelivered(t *testing.T) {
	const id = "malware--00000000-0000-4000-8000-000000000001"
	for name, disturb := range map[string]func(x memoryIndex, store *memoryStore) func(*Config){
		"its run is killed": func(x memoryIndex, store *memoryStore) func(*Config) {
			start(t, 2, x, store, nil).serve(t, red)
			return nil
		},
		"its work is deleted": func(x memoryIndex, store *memoryStore) func(*Config) {
			r := start(t, 2, x, store, nil)
			r.serve(t, red)
			r.finish(t, pipeline.Complete)
			return func(c *Config) { c.Doubted = map[uint32]bool{2: true} }
		},
	} {
		t.Run(name, func(t *testing.T) {
			x, store := memoryIndex{}, newMemoryStore()
			r := start(t, 1, x, store, nil)
			r.serve(t, unmarked)
			r.finish(t, pipeline.Complete)
			again := start(t, 3, x, store, disturb(x, store))
			again.serve(t, red)
			again.finish(t, pipeline.Complete)
			if !again.isRed(id) {
				t.Errorf("sent %v", again.queue.messages)
			}
		})
	}
}

func TestAMarkingCountsBetweenCopiesBeforeTheBrokerHasConfirmedIt(t *testing.T) {
	named := func(text, name string) string {
		return strings.Replace(text, `"name":"m"`, `"name":"m","description":"`+name+`"`, 1)
	}
	for first, other := range map[string]string{"a": "b", "b": "a"} { // of which one has the greater digest
		r := start(t, 1, memoryIndex{}, newMemoryStore(), func(c *Config) { c.BatchObjects = 1 })
		r.serve(t, named(unmarked, first))
		r.queue.hold = true
		r.serve(t, named(red, first), named(unmarked, other))
		r.finish(t, pipeline.Complete)
		for _, m := range r.queue.messages {
			if m.object["description"] == other {
				t.Errorf("%q was sent over %q, of which a copy is marked more strictly", other, first)
			}
		}
	}
}

func TestAStandardMarkingThatOpenCTIHasLostIsBroughtAgain(t *testing.T) {
	x := memoryIndex{index.KeyOf(tlpRed): {Digest: 5, Run: 1, Seq: 1, Day: index.DayOf(time.Now()) - 30}}
	r := start(t, 9, x, newMemoryStore(), func(c *Config) { c.Platform, c.VerifyAfter = catalogueOf(), 24*time.Hour })
	defer r.Close()
	r.serve(t, red)
	r.finish(t, pipeline.Complete)
	if ids := r.ids(); !r.isRed("malware--00000000-0000-4000-8000-000000000001") || !slices.Contains(ids, tlpRed) {
		t.Errorf("sent %q, not in red", ids)
	}
}

func TestWhatOpenCTIHasLostComesBackAsStrictAsItWas(t *testing.T) {
	const id = "malware--00000000-0000-4000-8000-000000000001"
	x, store := memoryIndex{}, newMemoryStore()
	r := start(t, 1, x, store, nil)
	r.serve(t, red)
	r.finish(t, pipeline.Complete)
	rec := x[index.KeyOf(id)]
	rec.Mark = index.Lost
	x[index.KeyOf(id)] = rec
	r = start(t, 2, x, store, nil)
	r.serve(t, unmarked)
	r.finish(t, pipeline.Complete)
	if !r.isRed(id) {
		t.Errorf("sent %v", r.queue.messages)
	}
}

func TestAWeakPatternIsNotSentOverWhatTheIndexKnows(t *testing.T) {
	weak := func(name string) pipeline.Object {
		o := object(t, fmt.Sprintf(`{"type":"attack-pattern","id":"attack-pattern--1","name":%q,"x_mitre_id":"T1"}`, name))
		o.Weak = true
		return o
	}
	x, store := memoryIndex{}, newMemoryStore()
	r := start(t, 1, x, store, nil)
	r.put(t, weak("Valid Accounts"))
	r.finish(t, pipeline.Complete)
	r = start(t, 2, x, store, nil)
	r.put(t, weak("Valid accounts"))
	r.finish(t, pipeline.Complete)
	if len(r.queue.messages) > 0 {
		t.Errorf("sent %v", r.queue.messages)
	}
}
