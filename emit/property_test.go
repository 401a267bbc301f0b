package emit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// world is what a source holds over several runs: items of object versions.
type world struct {
	runs [][]worldItem
	alts map[string]string // second ids, to the first
}

type worldItem struct {
	dataset  string
	versions []version
}

type version struct {
	id   string
	alt  string
	at   int // counts the versions of an object up
	refs []string
}

// foreign is an object that no item brings; a platform may hold it.
const foreign = "malware--99999999-0000-4000-8000-000000000000"

func (v version) text() string {
	typ, _, _ := strings.Cut(v.id, "--")
	members := []string{
		fmt.Sprintf(`"type":%q`, typ), fmt.Sprintf(`"id":%q`, v.id),
		fmt.Sprintf(`"modified":"2026-01-01T00:00:%02d.000Z"`, v.at),
	}
	if v.alt != "" {
		members = append(members, fmt.Sprintf(`"x_opencti_id":%q`, v.alt))
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
	w := world{alts: map[string]string{}}
	ids := make([]string, rapid.IntRange(2, 14).Draw(t, "objects"))
	names := []string{foreign}
	altOf := map[string]string{}
	for i := range ids {
		ids[i] = fmt.Sprintf("%s--%08d-0000-4000-8000-000000000000", types[rapid.IntRange(0, 2).Draw(t, "type")], i)
		names = append(names, ids[i])
		if rapid.IntRange(0, 4).Draw(t, "second id") == 4 {
			altOf[ids[i]] = fmt.Sprintf("%08d-1111-4000-8000-000000000000", i)
			w.alts[altOf[ids[i]]] = ids[i]
			names = append(names, altOf[ids[i]])
		}
	}
	ref := rapid.SampledFrom(names)
	newest := map[string]int{}
	for range rapid.IntRange(1, 3).Draw(t, "runs") {
		var items []worldItem
		for range rapid.IntRange(1, 5).Draw(t, "items") {
			item := worldItem{dataset: rapid.SampledFrom([]string{"profiles", "alerts"}).Draw(t, "dataset")}
			for _, id := range rapid.SliceOfNDistinct(rapid.SampledFrom(ids), 1, min(6, len(ids)), rapid.ID[string]).Draw(t, "item") {
				newest[id]++
				v := version{id: id, alt: altOf[id], at: newest[id]}
				for range 2 {
					if r := ref.Draw(t, "ref"); w.name(r) != id && !slices.Contains(v.refs, r) {
						v.refs = append(v.refs, r)
					}
				}
				if strings.HasPrefix(id, "relationship") && len(v.refs) < 2 {
					newest[id]--
					continue
				}
				item.versions = append(item.versions, v)
			}
			items = append(items, item)
		}
		if n := len(w.runs); n > 0 && rapid.Bool().Draw(t, "listed again") {
			items = append(items, w.runs[rapid.IntRange(0, n-1).Draw(t, "of run")]...)
		}
		w.runs = append(w.runs, items)
	}
	return w
}

// name is the first id of what has the id.
func (w world) name(id string) string {
	if first, found := w.alts[id]; found {
		return first
	}
	return id
}

// history is everything that arrived in the queue, over all runs and crashes.
type history struct {
	messages []message
	crashes  int
	disturbs int  // crashes, and ends before the end
	foreign  bool // the platform holds what nothing brings
	aged     bool // what the index knew had to be asked for
}

// disk is what survives a crash: the index as of the last commit, what waits, and how far each dataset was committed.
type disk struct {
	index   memoryIndex
	flushed memoryIndex
	waiting *memoryStore
	cursors map[string]cursor
}

// cursor counts the items of a dataset: those delivered without a gap, and those that are at least kept.
type cursor struct{ delivered, kept int }

func TestWhateverCrashesEachObjectArrivesAfterWhatItRefersToAndNoneIsLost(t *testing.T) {
	for i := range 15 { // a hundred worlds each
		t.Run(fmt.Sprint(i), func(t *testing.T) { rapid.Check(t, checkWorld) })
	}
}

func checkWorld(t *rapid.T) {
	w := drawWorld(t)
	d := &disk{index: memoryIndex{}, flushed: memoryIndex{}, waiting: newMemoryStore()}
	h := history{foreign: rapid.Bool().Draw(t, "platform holds the foreign object")}
	number := uint32(0)
	for _, items := range w.runs {
		d.cursors = map[string]cursor{}
		if rapid.Bool().Draw(t, "weeks pass") {
			d.age()
			h.aged = true
		}
		for {
			number++
			if runOnce(t, &h, number, d, items) {
				break
			}
		}
	}
	h.check(t, w)
}

// attempt is one run over the items of a world's run, on the way to all of them.
type attempt struct {
	*rig
	disk    *disk
	items   map[string][]worldItem
	from    map[string]cursor
	carried map[string]bool               // what was kept is delivered
	settled map[string][]pipeline.Outcome // of the items of a dataset, from the kept ones on
}

func (d *disk) begin(t *rapid.T, h *history, number uint32, items []worldItem) *attempt {
	a := &attempt{disk: d, items: map[string][]worldItem{}, from: maps.Clone(d.cursors), carried: map[string]bool{}, settled: map[string][]pipeline.Outcome{}}
	a.rig = newRig(number, d.index, d.waiting, func(c *Config) {
		c.Index = d
		c.BatchObjects = rapid.IntRange(1, 5).Draw(t, "batch")
		c.ParkedBytes = rapid.IntRange(1, 400).Draw(t, "parked bytes")
		c.ParkedObjects = rapid.SampledFrom([]int{100, 1, 2, 4}).Draw(t, "parked objects")
		c.Platform, c.VerifyAfter = h.platform(), 7*24*time.Hour
	})
	for _, item := range items {
		a.items[item.dataset] = append(a.items[item.dataset], item)
	}
	for name, list := range a.items {
		a.settled[name] = slices.Repeat([]pipeline.Outcome{-1}, len(list))
	}
	return a
}

// now is how far a dataset has come.
func (a *attempt) now(dataset string) cursor {
	c := a.from[dataset]
	settled := a.settled[dataset]
	for c.kept < len(settled) && settled[c.kept] >= pipeline.Kept {
		c.kept++
	}
	if a.from[dataset].delivered < a.from[dataset].kept && !a.carried[dataset] {
		return c
	}
	c.delivered = max(c.delivered, a.from[dataset].kept)
	for c.delivered < len(settled) && settled[c.delivered] == pipeline.Delivered {
		c.delivered++
	}
	return c
}

func (a *attempt) commit() {
	_ = a.disk.Flush(context.Background())
	for name := range a.items {
		a.disk.cursors[name] = a.now(name)
	}
}

// takeUp does what comes before the first item.
func (a *attempt) takeUp(ctx context.Context) error {
	err := a.Recover(ctx)
	for _, name := range []string{"alerts", "profiles"} {
		if c := a.from[name]; err == nil && c.kept > c.delivered {
			err = a.Carry(ctx, name, func(o pipeline.Outcome) { a.carried[name] = a.carried[name] || o == pipeline.Delivered })
		}
	}
	return err
}

// runOnce runs until all is delivered, reporting true, or until a crash, a failed dataset, or a stop.
func runOnce(t *rapid.T, h *history, number uint32, d *disk, items []worldItem) bool {
	a := d.begin(t, h, number, items)
	end := pipeline.Complete
	ends := map[string]int{} // where a dataset ends early
	if h.disturbs < 4 && rapid.Bool().Draw(t, "disturbed") {
		h.disturbs++
		switch rapid.IntRange(0, 3).Draw(t, "how") {
		case 0:
			end = pipeline.Interrupted
			ends["profiles"], ends["alerts"] = rapid.IntRange(0, 3).Draw(t, "profiles"), rapid.IntRange(0, 3).Draw(t, "alerts")
		case 1:
			end = pipeline.Partial
			ends["alerts"] = rapid.IntRange(0, 3).Draw(t, "alerts")
		default:
			a.queue.crashAt = rapid.IntRange(1, 20).Draw(t, "crash at")
			a.queue.hold = rapid.Bool().Draw(t, "late confirms")
		}
	}
	defer func() { h.messages = append(h.messages, a.queue.messages...) }()
	err := a.takeUp(t.Context())
	next := map[string]int{}
	for _, item := range items {
		name, i := item.dataset, next[item.dataset]
		next[name]++
		stop, early := ends[name]
		if err != nil || i < a.from[name].kept || (early && i >= stop) {
			continue
		}
		err = a.hand(t, i, item)
	}
	if err == nil {
		err = a.Finish(t.Context(), end)
	}
	if errors.Is(err, errCrash) {
		h.crashes++
		d.crash(rapid.Bool().Draw(t, "index lost"), rapid.Bool().Draw(t, "removals lost"))
		return false
	}
	if err != nil {
		t.Fatalf("run %d: %v", number, err)
	}
	a.commit()
	for name, list := range a.items {
		c := d.cursors[name]
		if end == pipeline.Complete && c.delivered < len(list) {
			t.Fatalf("run %d ended well, but of %d items of %s only %d are delivered, %d kept", number, len(list), name, c.delivered, c.kept)
		}
	}
	return end == pipeline.Complete
}

func (a *attempt) hand(t *rapid.T, i int, item worldItem) error {
	var objects []pipeline.Object
	for _, v := range item.versions {
		objects = append(objects, object(t, v.text()))
	}
	err := a.Put(t.Context(), pipeline.Item{Dataset: item.dataset, ID: fmt.Sprint(i)}, objects, func(o pipeline.Outcome) {
		if o <= a.settled[item.dataset][i] {
			t.Fatalf("item %d of %s was settled as %v after %v", i, item.dataset, o, a.settled[item.dataset][i])
		}
		a.settled[item.dataset][i] = o
	})
	if err == nil && rapid.IntRange(0, 3).Draw(t, "tick") == 0 {
		a.shelf.saved = a.shelf.saved.Add(-1 << 40) // as if time had passed
		a.inquiry.looked = a.inquiry.looked.Add(-1 << 40)
		a.inquiry.lastPut = a.inquiry.lastPut.Add(-1 << 40)
		a.shelf.tidied = a.shelf.tidied.Add(-1 << 40)
		for _, n := range a.order.live {
			n.parkedAt = n.parkedAt.Add(-1 << 40)
		}
		err = a.Tick(t.Context())
	}
	if err == nil && rapid.IntRange(0, 2).Draw(t, "commit") == 0 {
		a.commit()
	}
	return err
}

// age makes what the index knows older than it is believed without asking.
func (d *disk) age() {
	for _, x := range []memoryIndex{d.index, d.flushed} {
		for key, rec := range x {
			rec.Day = 0
			x[key] = rec
		}
	}
}

// platform holds what has arrived so far.
func (h *history) platform() *catalogue {
	c := catalogueOf()
	if h.foreign {
		c.held[foreign] = "Thing"
	}
	for _, m := range h.messages {
		c.held[m.id] = "Thing"
		if alt, ok := m.object["x_opencti_id"].(string); ok {
			c.held[alt] = "Thing"
		}
	}
	return c
}

func (d *disk) Lookup(k index.Key) (index.Record, bool) { return d.index.Lookup(k) }
func (d *disk) Put(k index.Key, r index.Record)         { d.index.Put(k, r) }
func (d *disk) Flush(context.Context) error             { d.flushed = maps.Clone(d.index); return nil }

// crash takes what was not durable.
func (d *disk) crash(indexLost, removalsLost bool) {
	if indexLost {
		d.index = maps.Clone(d.flushed)
	}
	d.flushed = maps.Clone(d.index) // what the next process finds is on disk
	if removalsLost {
		d.waiting.bringBack()
	}
	d.waiting.removed = nil
}

// check holds what arrived against what the world says.
func (h *history) check(t *rapid.T, w world) {
	arrived := map[string]message{}
	if h.foreign {
		arrived[foreign] = message{}
	}
	for _, m := range h.messages {
		for _, ref := range m.refs() {
			if _, found := arrived[w.name(ref)]; !found {
				t.Fatalf("%s arrived before %s, to which it refers", m.id, ref)
			}
		}
		// Whose knowledge grows old, or who ended before the end, can meet a circle that was cut and is not whole yet, and cut it once
		// more.
		cut := (h.aged || h.disturbs > 0) && len(m.refs()) < 2
		if earlier, found := arrived[m.id]; found && h.crashes == 0 && !cut && fmt.Sprint(earlier.object) == fmt.Sprint(m.object) {
			t.Fatalf("%s arrived twice with the same content, without a crash", m.id)
		}
		arrived[m.id] = m
	}
	newest, links := w.newest(), w.links()
	deliverable := w.deliverableOf(newest, links, h.foreign)
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
			if deliverable[w.name(ref)] && !slices.Contains(m.refs(), ref) && !reaches(links, w.name(ref), id) {
				t.Fatalf("%s arrived without its reference to %s, which was brought", id, ref)
			}
		}
	}
}

func (w world) newest() map[string]version {
	newest := map[string]version{}
	for _, items := range w.runs {
		for _, item := range items {
			for _, v := range item.versions {
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
			for _, v := range item.versions {
				for _, ref := range v.refs {
					links[v.id] = append(links[v.id], w.name(ref))
				}
			}
		}
	}
	return links
}

// deliverableOf lists what must have arrived in its newest version: all but relations whose ends are not deliverable,
// or that are part of a cycle, where one has to give way.
func (w world) deliverableOf(newest map[string]version, links map[string][]string, foreignHeld bool) map[string]bool {
	deliverable := map[string]bool{}
	for id := range newest {
		deliverable[id] = true
	}
	if foreignHeld {
		deliverable[foreign] = true
	}
	for changed := true; changed; {
		changed = false
		for id, v := range newest {
			if !deliverable[id] || !strings.HasPrefix(id, "relationship") {
				continue
			}
			for _, end := range v.refs {
				if !deliverable[w.name(end)] || reaches(links, w.name(end), id) {
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
