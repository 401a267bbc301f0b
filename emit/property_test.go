package emit

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// world is what a source holds over several runs: items of object versions.
type world struct {
	runs [][][]version // runs, items of a run, objects of an item
}

type version struct {
	id   string
	at   int // counts the versions of an object up
	refs []string
}

func (v version) text() string {
	typ, _, _ := strings.Cut(v.id, "--")
	members := []string{
		fmt.Sprintf(`"type":%q`, typ), fmt.Sprintf(`"id":%q`, v.id),
		fmt.Sprintf(`"modified":"2026-01-01T00:00:%02d.000Z"`, v.at),
	}
	if typ == "relationship" {
		members = append(members, fmt.Sprintf(`"source_ref":%q`, v.refs[0]), fmt.Sprintf(`"target_ref":%q`, v.refs[1]))
	} else if len(v.refs) > 0 {
		members = append(members, `"object_refs":["`+strings.Join(v.refs, `","`)+`"]`)
	}
	return "{" + strings.Join(members, ",") + "}"
}

// drawWorld draws a graph of objects, some of which nothing brings, splits it into items and the items into runs.
func drawWorld(t *rapid.T) world {
	types := []string{"report", "identity", "relationship"}
	ids := make([]string, rapid.IntRange(2, 14).Draw(t, "objects"))
	for i := range ids {
		ids[i] = fmt.Sprintf("%s--%08d-0000-4000-8000-000000000000", types[rapid.IntRange(0, 2).Draw(t, "type")], i)
	}
	ref := rapid.SampledFrom(append(slices.Clone(ids), "malware--99999999-0000-4000-8000-000000000000"))
	newest := map[string]int{}
	var w world
	for range rapid.IntRange(1, 3).Draw(t, "runs") {
		var items [][]version
		for range rapid.IntRange(1, 5).Draw(t, "items") {
			var item []version
			for _, id := range rapid.SliceOfNDistinct(rapid.SampledFrom(ids), 1, min(6, len(ids)), rapid.ID[string]).Draw(t, "item") {
				newest[id]++
				v := version{id: id, at: newest[id]}
				for range 2 {
					if r := ref.Draw(t, "ref"); r != id && !slices.Contains(v.refs, r) {
						v.refs = append(v.refs, r)
					}
				}
				if strings.HasPrefix(id, "relationship") && len(v.refs) < 2 {
					newest[id]--
					continue
				}
				item = append(item, v)
			}
			items = append(items, item)
		}
		w.runs = append(w.runs, items)
	}
	return w
}

// history is everything that arrived in the queue, over all runs and crashes.
type history struct {
	messages []message
	crashes  int
}

func TestWhateverCrashesEachObjectArrivesAfterWhatItRefersToAndNoneIsLost(t *testing.T) {
	for i := range 15 { // a hundred worlds each
		t.Run(fmt.Sprint(i), func(t *testing.T) { rapid.Check(t, checkWorld) })
	}
}

func checkWorld(t *rapid.T) {
	w := drawWorld(t)
	x, waiting := memoryIndex{}, newMemoryWaiting()
	var h history
	number := uint32(0)
	for _, items := range w.runs {
		settled := make([]pipeline.Outcome, len(items))
		for i := range settled {
			settled[i] = -1
		}
		for {
			number++
			if runOnce(t, &h, number, x, waiting, items, settled) {
				break
			}
		}
	}
	h.check(t, w)
}

// runOnce runs until the end, reporting true, or a crash. Items of which the state says that they need not be fetched
// again are not.
func runOnce(t *rapid.T, h *history, number uint32, x memoryIndex, waiting *memoryWaiting, items [][]version, settled []pipeline.Outcome) bool {
	r := newRig(number, x, waiting, func(c *Config) {
		c.BatchObjects = rapid.IntRange(1, 5).Draw(t, "batch")
		c.ParkedBytes = rapid.IntRange(1, 400).Draw(t, "parked bytes")
	})
	if h.crashes < 3 && rapid.Bool().Draw(t, "crash") {
		r.queue.crashAt = rapid.IntRange(1, 20).Draw(t, "crash at")
		r.queue.hold = rapid.Bool().Draw(t, "late confirms")
	}
	defer func() {
		h.messages = append(h.messages, r.queue.messages...)
	}()
	err := errors.Join(r.Recover(t.Context()), r.Carry(t.Context(), "profiles", func(pipeline.Outcome) {}))
	for i, item := range items {
		if err != nil || settled[i] >= pipeline.Kept {
			continue
		}
		var objects []pipeline.Object
		for _, v := range item {
			objects = append(objects, object(t, v.text()))
		}
		err = r.Put(t.Context(), pipeline.Item{Dataset: "profiles", ID: fmt.Sprint(i)}, objects, func(o pipeline.Outcome) {
			settled[i] = max(settled[i], o)
		})
		if err == nil && rapid.IntRange(0, 3).Draw(t, "tick") == 0 {
			r.mu.Lock()
			r.spilled = r.spilled.Add(-1 << 40) // as if time had passed
			for _, n := range r.order.live {
				n.parkedAt = n.parkedAt.Add(-1 << 40)
			}
			r.mu.Unlock()
			err = r.Tick(t.Context())
		}
	}
	if err == nil {
		err = r.Finish(t.Context(), pipeline.Complete)
	}
	if errors.Is(err, errCrash) {
		h.crashes++
		return false
	}
	if err != nil {
		t.Fatalf("run %d: %v", number, err)
	}
	for i := range settled {
		if settled[i] != pipeline.Delivered && len(items[i]) > 0 && settled[i] != pipeline.Kept {
			t.Fatalf("run %d ended well, but item %d is not settled", number, i)
		}
	}
	return true
}

// check holds what arrived against what the world says.
func (h *history) check(t *rapid.T, w world) {
	arrived := map[string]message{}
	for _, m := range h.messages {
		for _, ref := range m.refs() {
			if _, found := arrived[ref]; !found {
				t.Fatalf("%s arrived before %s, to which it refers", m.id, ref)
			}
		}
		if earlier, found := arrived[m.id]; found && h.crashes == 0 && fmt.Sprint(earlier.object) == fmt.Sprint(m.object) {
			t.Fatalf("%s arrived twice with the same content, without a crash", m.id)
		}
		arrived[m.id] = m
	}
	newest, links := w.newest(), w.links()
	deliverable := deliverableOf(newest, links)
	for id, v := range newest {
		m, found := arrived[id]
		switch {
		case deliverable[id] && !found:
			t.Fatalf("%s was lost", id)
		case !found:
			continue
		case !deliverable[id]:
			continue // it went in an earlier version, or in one piece of a cycle
		}
		if want := v.text(); m.object["modified"] != object(t, want).Modified.Format("2006-01-02T15:04:05.000Z") {
			t.Fatalf("%s arrived last as of %v, want %s", id, m.object["modified"], want)
		}
		for _, ref := range v.refs {
			if deliverable[ref] && !slices.Contains(m.refs(), ref) && !reaches(links, ref, id) {
				t.Fatalf("%s arrived without its reference to %s, which was brought", id, ref)
			}
		}
	}
}

func (w world) newest() map[string]version {
	newest := map[string]version{}
	for _, items := range w.runs {
		for _, item := range items {
			for _, v := range item {
				if v.at > newest[v.id].at {
					newest[v.id] = v
				}
			}
		}
	}
	return newest
}

// links lists what each object refers to in any version: a cycle of older versions may have been cut already when a newer
// one without it came.
func (w world) links() map[string][]string {
	links := map[string][]string{}
	for _, items := range w.runs {
		for _, item := range items {
			for _, v := range item {
				links[v.id] = append(links[v.id], v.refs...)
			}
		}
	}
	return links
}

// deliverableOf lists what must have arrived in its newest version: all but relations whose ends are not deliverable,
// or that are part of a cycle, where one has to give way.
func deliverableOf(newest map[string]version, links map[string][]string) map[string]bool {
	deliverable := map[string]bool{}
	for id := range newest {
		deliverable[id] = true
	}
	for changed := true; changed; {
		changed = false
		for id, v := range newest {
			if !deliverable[id] || !strings.HasPrefix(id, "relationship") {
				continue
			}
			for _, end := range v.refs {
				if !deliverable[end] || reaches(links, end, id) {
					deliverable[id], changed = false, true
				}
			}
		}
	}
	return deliverable
}

// reaches reports whether to can be reached from from along references.
func reaches(links map[string][]string, from, to string) bool {
	seen := map[string]bool{}
	var walk func(string) bool
	walk = func(id string) bool {
		if id == to {
			return true
		}
		if seen[id] {
			return false
		}
		seen[id] = true
		return slices.ContainsFunc(links[id], walk)
	}
	return walk(from)
}
