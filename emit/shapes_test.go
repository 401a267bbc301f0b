package emit

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// ledgerQueue notes where each object lies and what it refers to, and is quick about it.
type ledgerQueue struct {
	t     failer
	at    map[string]int
	lost  int // references that did not go along, of those that want names
	want  map[string][]string
	count int
	twice int
	held  map[string]bool // on the platform already
	watch func()          // called for each message, if set
}

func (q *ledgerQueue) Publish(_ context.Context, body []byte, settled func(error), _ func()) error {
	if q.watch != nil {
		q.watch()
	}
	_, rest, _ := bytes.Cut(body, []byte(`"content":"`))
	content, _, _ := bytes.Cut(rest, []byte(`"`))
	text := make([]byte, base64.StdEncoding.DecodedLen(len(content)))
	n, err := base64.StdEncoding.Decode(text, content)
	if err != nil {
		q.t.Fatal(err)
	}
	_, object, _ := strings.Cut(string(text[:n]), `"objects":[`)
	_, rest2, _ := strings.Cut(object, `"id":"`)
	id, rest2, _ := strings.Cut(rest2, `"`)
	sent := 0
	for _, ref := range refsIn(rest2) {
		if _, found := q.at[ref]; !found && !q.held[ref] {
			q.t.Fatalf("%s arrived before %s", id, ref)
		}
		sent++
	}
	q.lost += len(q.want[id]) - sent
	if _, found := q.at[id]; found {
		q.twice++
		q.lost -= len(q.want[id]) // counted by the first copy
	}
	q.at[id] = q.count
	q.count++
	settled(nil)
	return nil
}

func (q *ledgerQueue) Flush(context.Context, func()) error { return nil }

// refsIn finds the ids in the text of a shape's object after its own.
func refsIn(text string) []string {
	var refs []string
	for {
		_, rest, found := strings.Cut(text, "--")
		if !found {
			return refs
		}
		end := strings.IndexByte(rest, '"')
		start := strings.LastIndexByte(text[:len(text)-len(rest)], '"') + 1
		refs = append(refs, text[start:len(text)-len(rest)+end])
		text = rest[end:]
	}
}

// shapeObject is an object of which only the references matter.
func shapeObject(typ string, i int, refs ...string) pipeline.Object {
	id := shapeID(typ, i)
	var text string
	switch {
	case typ == "relationship":
		text = fmt.Sprintf(`{"type":%q,"id":%q,"source_ref":%q,"target_ref":%q}`, typ, id, refs[0], refs[1])
	case len(refs) == 0:
		text = fmt.Sprintf(`{"type":%q,"id":%q,"name":"some name, for an ordinary length"}`, typ, id)
	default:
		text = fmt.Sprintf(`{"type":%q,"id":%q,"object_refs":["%s"]}`, typ, id, strings.Join(refs, `","`))
	}
	return pipeline.Object{ID: id, Type: typ, Refs: refs, Digest: uint64(i + 1), JSON: []byte(text)}
}

func shapeID(typ string, i int) string { return fmt.Sprintf("%s--%07d", typ, i) }

// shape is a graph, in the order in which it comes.
type shape struct {
	objects []pipeline.Object
	item    int // objects of an item
	lost    int // references that cannot be kept
	missing int // objects that cannot be sent
}

func chainOf(n int) []pipeline.Object {
	objects := make([]pipeline.Object, n)
	for i := range objects {
		if i == 0 {
			objects[i] = shapeObject("report", i)
		} else {
			objects[i] = shapeObject("report", i, shapeID("report", i-1))
		}
	}
	return objects
}

func reversed(objects []pipeline.Object) []pipeline.Object {
	slices.Reverse(objects)
	return objects
}

func shuffled(objects []pipeline.Object) []pipeline.Object {
	r := rand.New(rand.NewPCG(1, 2))
	r.Shuffle(len(objects), func(i, j int) { objects[i], objects[j] = objects[j], objects[i] })
	return objects
}

func starOf(n int, hubs ...pipeline.Object) []pipeline.Object {
	var objects []pipeline.Object
	for i := range n {
		objects = append(objects, shapeObject("report", i, shapeID("malware", 0)))
	}
	return append(objects, hubs...)
}

func cycleOf(n, from int) []pipeline.Object {
	objects := make([]pipeline.Object, n)
	for i := range objects {
		objects[i] = shapeObject("report", from+i, shapeID("report", from+(i+1)%n))
	}
	return objects
}

// allFrom is an object that refers to n others.
func allFrom(n int) pipeline.Object {
	refs := make([]string, n)
	for i := range refs {
		refs[i] = shapeID("malware", i)
	}
	return shapeObject("report", n, refs...)
}

func others(n int) []pipeline.Object {
	objects := make([]pipeline.Object, n)
	for i := range objects {
		objects[i] = shapeObject("malware", i)
	}
	return objects
}

// shapes breaks naive orderings: n is the number of objects, about.
var shapes = map[string]func(n int) shape{
	"a chain, forward":    func(n int) shape { return shape{objects: chainOf(n), item: 1} },
	"a chain, backward":   func(n int) shape { return shape{objects: reversed(chainOf(n)), item: 1} },
	"a chain, shuffled":   func(n int) shape { return shape{objects: shuffled(chainOf(n)), item: 7} },
	"a star, hub first":   func(n int) shape { return shape{objects: reversed(starOf(n, shapeObject("malware", 0))), item: 10} },
	"a star, hub last":    func(n int) shape { return shape{objects: starOf(n, shapeObject("malware", 0)), item: 10} },
	"a star without hub":  func(n int) shape { return shape{objects: starOf(n), item: 10, lost: n} },
	"one cycle":           func(n int) shape { return shape{objects: cycleOf(n, 0), item: 5, lost: 1} },
	"one cycle, shuffled": func(n int) shape { return shape{objects: shuffled(cycleOf(n, 0)), item: 5, lost: 1} },
	"many small cycles": func(n int) shape {
		var objects []pipeline.Object
		for i := range n / 2 {
			objects = append(objects, cycleOf(2, 2*i)...)
		}
		return shape{objects: shuffled(objects), item: 3, lost: n / 2}
	},
	"all relations first": func(n int) shape {
		var objects []pipeline.Object
		for i := range n / 2 {
			objects = append(objects, shapeObject("relationship", i, shapeID("malware", i), shapeID("malware", (i*7)%(n/2))))
		}
		objects[0] = shapeObject("relationship", 0, shapeID("malware", 0), shapeID("malware", 1))
		return shape{objects: append(objects, others(n/2)...), item: 20}
	},
	"relations whose ends come with the last page": func(n int) shape {
		var objects []pipeline.Object
		for i := range n {
			objects = append(objects, shapeObject("relationship", i, shapeID("malware", 0), shapeID("malware", 1+i%9)))
		}
		return shape{objects: append(objects, others(10)...), item: 20}
	},
	"one that refers to every other, first": func(n int) shape {
		return shape{objects: append([]pipeline.Object{allFrom(n)}, others(n)...), item: 10}
	},
	"one that refers to every other, last": func(n int) shape { return shape{objects: append(others(n), allFrom(n)), item: 10} },
	"one that refers to every other, of which half come": func(n int) shape {
		return shape{objects: append([]pipeline.Object{allFrom(n)}, others(n/2)...), item: 10, lost: n - n/2}
	},
	"a chain of relations of which the first end never comes": func(n int) shape {
		n /= 5
		var objects []pipeline.Object
		for i := range n {
			source := shapeID("tool", 0)
			if i > 0 {
				source = shapeID("relationship", i-1)
			}
			objects = append(objects, shapeObject("relationship", i, source, shapeID("malware", 0)))
		}
		return shape{objects: append(objects, shapeObject("malware", 0)), item: 10, missing: n}
	},
	"one that is in a cycle with every relation": func(n int) shape {
		refs := make([]string, n)
		objects := make([]pipeline.Object, n)
		for i := range refs {
			refs[i] = shapeID("relationship", i)
			objects[i] = shapeObject("relationship", i, shapeID("report", n), shapeID("malware", 0))
		}
		return shape{objects: append(objects, shapeObject("report", n, refs...), shapeObject("malware", 0)), item: 10, lost: n}
	},
}

// deliverShape delivers a shape with a store on disk and returns what it cost.
func deliverShape(t testing.TB, s shape, change func(*Config)) (q *ledgerQueue, cpu time.Duration) {
	t.Helper()
	q = &ledgerQueue{t: t, at: map[string]int{}, want: map[string][]string{}}
	for _, o := range s.objects {
		q.want[o.ID] = o.Refs
	}
	x, _, err := index.Open(context.Background(), t.TempDir(), index.Identity{Connector: "c"}, index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = x.Close() }()
	cfg := toQueue(q, Config{
		Index: x, Store: x.Waiting(), Durable: true, Mapping: testMapping(),
		Gauge:       NewGauge(nil, 0, nil, zap.NewNop()),
		ApplicantID: "applicant", Run: 1,
	})
	if change != nil {
		change(&cfg)
	}
	e := New(cfg)
	runtime.GC()
	started := cpuTime(t)
	settled := 0
	items := 0
	for objects := range slices.Chunk(s.objects, s.item) {
		items++
		dataset := "profiles"
		if items%2 == 0 {
			dataset = "alerts"
		}
		err := e.Put(context.Background(), pipeline.Item{Dataset: dataset, ID: fmt.Sprint(items)}, objects, func(o pipeline.Outcome) {
			if o == pipeline.Delivered {
				settled++
			}
		})
		if err == nil && items%1000 == 0 {
			err = e.Tick(context.Background())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Finish(context.Background(), pipeline.Complete); err != nil {
		t.Fatal(err)
	}
	cpu = cpuTime(t) - started
	if settled != items {
		t.Errorf("%d of %d items were settled", settled, items)
	}
	if len(e.order.live) > 0 || len(e.order.waiting) > 0 || e.order.parked != 0 || e.order.open != 0 || e.order.parkedBytes != 0 || e.order.readyBytes != 0 {
		t.Errorf("left over: %d live, %d waited for, %d parked with %d references and %d bytes, %d bytes ready",
			len(e.order.live), len(e.order.waiting), e.order.parked, e.order.open, e.order.parkedBytes, e.order.readyBytes)
	}
	return q, cpu
}

// cpuTime is what the process has used: unlike the clock it does not tell what else the machine does.
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Skipf("no figures of the process: %v", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestGraphsThatBreakNaiveOrderingsArriveInOrderAndInLinearTime(t *testing.T) {
	n := 10_000
	if testing.Short() || raceEnabled {
		n = 2_000
	}
	for name, make := range shapes {
		t.Run(name, func(t *testing.T) {
			half := make(n / 2)
			_, short := deliverShape(t, half, nil)
			s := make(n)
			q, long := deliverShape(t, s, nil)
			if want := len(s.objects) - s.missing; len(q.at) != want || q.twice > 0 {
				t.Errorf("%d of %d objects arrived, %d more than once", len(q.at), want, q.twice)
			}
			if q.lost != s.lost {
				t.Errorf("%d references were taken away, want %d", q.lost, s.lost)
			}
			t.Logf("%d objects in %s, %d in %s", len(half.objects), short, len(s.objects), long)
			// What is over in no time says nothing about how it grows.
			if limit := max(500*time.Millisecond, 26*short/10); long > limit && !raceEnabled {
				t.Errorf("%d objects took %s, and %d took %s", len(half.objects), short, len(s.objects), long)
			}
		})
	}
}

func TestAStarOfAHundredThousandIsDeliveredWhereverItsHubIs(t *testing.T) {
	n := 100_000
	if testing.Short() || raceEnabled {
		n = 10_000
	}
	hub := shapeObject("malware", 0)
	for name, s := range map[string]shape{
		"first": {objects: reversed(starOf(n, hub)), item: 1000},
		"last":  {objects: starOf(n, hub), item: 1000},
		"never": {objects: starOf(n), item: 1000, lost: n},
	} {
		q, cpu := deliverShape(t, s, func(c *Config) { c.ParkedObjects = 2 * n })
		if len(q.at) != len(s.objects) || q.lost != s.lost || q.twice > 0 {
			t.Errorf("hub %s: %d of %d arrived, %d twice, %d references lost", name, len(q.at), len(s.objects), q.twice, q.lost)
		}
		t.Logf("hub %s: %s", name, cpu)
		if cpu > 5*time.Second && !raceEnabled {
			t.Errorf("hub %s: %d objects took %s", name, n, cpu)
		}
	}
}

func TestARunThatBringsTheHubMakesAStarOfAnEarlierOneGood(t *testing.T) {
	n := 10_000
	if testing.Short() || raceEnabled {
		n = 3_000
	}
	x, _, err := index.Open(t.Context(), t.TempDir(), index.Identity{}, index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = x.Close() }()
	run := func(number uint32, objects []pipeline.Object) *ledgerQueue {
		q := &ledgerQueue{t: t, at: map[string]int{}, want: map[string][]string{}}
		e := New(toQueue(q, Config{
			Index: x, Store: x.Waiting(), Durable: true, Mapping: testMapping(),
			Gauge: NewGauge(nil, 0, nil, zap.NewNop()), Run: number,
			ParkedBytes: 100_000, BatchObjects: 100,
		}))
		// What was held back is taken up with the hub; its texts must not all be in memory at once.
		most := 0
		q.watch = func() {
			if q.count%500 == 0 {
				most = max(most, textsInMemory(e))
			}
		}
		for some := range slices.Chunk(objects, 100) {
			if err := e.Put(t.Context(), pipeline.Item{Dataset: "profiles"}, some, func(pipeline.Outcome) {}); err != nil {
				t.Fatal(err)
			}
		}
		defer func() {
			if most > e.cfg.ParkedBytes+2*e.cfg.BatchObjects*100 {
				t.Errorf("run %d: %d bytes of texts in memory", number, most)
			}
		}()
		if err := e.Finish(t.Context(), pipeline.Complete); err != nil {
			t.Fatal(err)
		}
		return q
	}
	if q := run(1, starOf(n)); len(q.at) != n {
		t.Fatalf("%d of %d arrived without the hub", len(q.at), n)
	}
	if q := run(2, starOf(n)); q.count != 0 {
		t.Errorf("%d messages in a run without changes", q.count)
	}
	if q := run(3, []pipeline.Object{shapeObject("malware", 0)}); q.count != n+1 || x.Waiting().Len() > 0 {
		t.Errorf("%d of %d messages once the hub came, %d still wait", q.count, n+1, x.Waiting().Len())
	}
	if q := run(4, append(starOf(n), shapeObject("malware", 0))); q.count != 0 {
		t.Errorf("%d messages in the run after it", q.count)
	}
}

func textsInMemory(e *Emitter) int {
	bytes := 0
	for _, n := range e.order.live {
		bytes += len(n.object.JSON)
	}
	return bytes
}

func TestTextsOfParkedObjectsStayWithinTheirBound(t *testing.T) {
	x, _, err := index.Open(t.Context(), t.TempDir(), index.Identity{}, index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = x.Close() }()
	q := &ledgerQueue{t: t, at: map[string]int{}, want: map[string][]string{}}
	const bound = 64 << 10
	e := New(toQueue(q, Config{
		Index: x, Store: x.Waiting(), Durable: true, Mapping: testMapping(), ParkedBytes: bound,
		Gauge: NewGauge(nil, 0, nil, zap.NewNop()), Run: 1,
	}))
	objects := starOf(5000, shapeObject("malware", 0))
	kept := 0
	for i, o := range objects {
		if err := e.Put(t.Context(), pipeline.Item{Dataset: "profiles"}, []pipeline.Object{o}, func(o pipeline.Outcome) {
			if o == pipeline.Kept {
				kept++
			}
		}); err != nil {
			t.Fatal(err)
		}
		if i%100 == 0 && textsInMemory(e) > bound+200 {
			t.Fatalf("%d bytes of texts after %d objects", textsInMemory(e), i)
		}
	}
	if kept < 4000 {
		t.Errorf("only %d items count as kept", kept)
	}
	if err := e.Finish(t.Context(), pipeline.Complete); err != nil || len(q.at) != len(objects) {
		t.Errorf("%d of %d arrived, %v", len(q.at), len(objects), err)
	}
	if x.Waiting().Len() > 0 {
		t.Errorf("%d objects stay on disk", x.Waiting().Len())
	}
}

func TestManyMoreThanMayWaitAreSentWithoutAndAgainWithWhatTheyWaitedFor(t *testing.T) {
	const limit = 500
	n := 20_000
	if testing.Short() || raceEnabled {
		n = 4_000
	}
	most := 0
	s := shape{objects: starOf(n, shapeObject("malware", 0)), item: 10}
	var e *Emitter
	q := &ledgerQueue{t: t, at: map[string]int{}, want: map[string][]string{}}
	x, _, err := index.Open(t.Context(), t.TempDir(), index.Identity{}, index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = x.Close() }()
	e = New(toQueue(q, Config{
		Index: x, Store: x.Waiting(), Durable: true, Mapping: testMapping(), ParkedObjects: limit,
		Gauge: NewGauge(nil, 0, nil, zap.NewNop()), Run: 1,
		BatchObjects: 100,
	}))
	delivered, items := 0, 0
	for objects := range slices.Chunk(s.objects, s.item) {
		items++
		if err := e.Put(t.Context(), pipeline.Item{Dataset: "profiles"}, objects, func(o pipeline.Outcome) {
			if o == pipeline.Delivered {
				delivered++
			}
		}); err != nil {
			t.Fatal(err)
		}
		most = max(most, len(e.order.live))
		if items == n/s.item/2 && delivered < items/2 {
			t.Errorf("half way through %d of %d items are delivered", delivered, items)
		}
	}
	if most > 2*limit {
		t.Errorf("%d objects were in memory, where %d may wait", most, limit)
	}
	if err := e.Finish(t.Context(), pipeline.Complete); err != nil {
		t.Fatal(err)
	}
	if delivered != items {
		t.Errorf("%d of %d items were settled", delivered, items)
	}
	whole := 0
	for id, at := range q.at {
		if at > q.at[shapeID("malware", 0)] && strings.HasPrefix(id, "report") {
			whole++
		}
	}
	if len(q.at) != n+1 || whole != n || x.Waiting().Len() > 0 {
		t.Errorf("%d of %d objects arrived, %d with the hub before them at last, %d still wait", len(q.at), n+1, whole, x.Waiting().Len())
	}
}

func TestFarMoreThanMayWaitForWhatNothingBringsRunInFlatMemory(t *testing.T) {
	const limit = 1000
	n := 20_000
	if testing.Short() || raceEnabled {
		n = 6_000
	}
	for name, target := range map[string]func(i int) string{
		"all the same": func(int) string { return shapeID("malware", 0) },
		"each another": func(i int) string { return shapeID("malware", i) },
		"the next one": func(i int) string { return shapeID("report", i+1) },
	} {
		t.Run(name, func(t *testing.T) {
			s := shape{item: 10}
			for i := range n {
				s.objects = append(s.objects, shapeObject("report", i, target(i)))
			}
			most := 0
			q, cpu := deliverShapeWatched(t, s, func(c *Config) { c.ParkedObjects = limit }, func(e *Emitter) { most = max(most, len(e.order.live), waitingEntries(e)) })
			if len(q.at) != n {
				t.Errorf("%d of %d arrived", len(q.at), n)
			}
			if most > 4*limit {
				t.Errorf("%d objects were in memory or listed as waiting, where %d may wait", most, limit)
			}
			t.Logf("%s, %d sent again", cpu, q.twice)
		})
	}
}

func TestWhatIsCleanedAtTheEndOfARunIsNotAllInMemoryAtOnce(t *testing.T) {
	const n, most = 6000, 3000 // of which a thousand is in a batch, and a thousand is noted at once
	objects := starOf(n)
	x, _, err := index.Open(t.Context(), t.TempDir(), index.Identity{}, index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = x.Close() }()
	q := &ledgerQueue{t: t, at: map[string]int{}, want: map[string][]string{}}
	e := New(toQueue(q, Config{
		Index: x, Store: x.Waiting(), Durable: true, Mapping: testMapping(), Gauge: NewGauge(nil, 0, nil, zap.NewNop()), Run: 1,
	}))
	noted := 0
	q.watch = func() { noted = max(noted, len(e.shelf.omissions)) }
	if err := e.Put(t.Context(), pipeline.Item{Dataset: "profiles"}, objects, func(pipeline.Outcome) {}); err != nil {
		t.Fatal(err)
	}
	if err := e.Finish(t.Context(), pipeline.Complete); err != nil || len(q.at) != n {
		t.Errorf("%d of %d arrived, %v", len(q.at), n, err)
	}
	if noted == 0 || noted > most {
		t.Errorf("%d objects that were cleaned waited to be noted, of %d", noted, n)
	}
}

func waitingEntries(e *Emitter) int {
	entries := 0
	for _, list := range e.order.waiting {
		entries += len(list)
	}
	return entries
}

func deliverShapeWatched(t testing.TB, s shape, change func(*Config), watch func(*Emitter)) (*ledgerQueue, time.Duration) {
	t.Helper()
	q := &ledgerQueue{t: t, at: map[string]int{}, want: map[string][]string{}}
	x, _, err := index.Open(context.Background(), t.TempDir(), index.Identity{}, index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = x.Close() }()
	cfg := toQueue(q, Config{
		Index: x, Store: x.Waiting(), Durable: true, Mapping: testMapping(), Run: 1,
		Gauge: NewGauge(nil, 0, nil, zap.NewNop()),
	})
	change(&cfg)
	e := New(cfg)
	started := cpuTime(t)
	for objects := range slices.Chunk(s.objects, s.item) {
		if err := e.Put(context.Background(), pipeline.Item{Dataset: "profiles"}, objects, func(pipeline.Outcome) {}); err != nil {
			t.Fatal(err)
		}
		watch(e)
	}
	if err := e.Finish(context.Background(), pipeline.Complete); err != nil {
		t.Fatal(err)
	}
	return q, cpuTime(t) - started
}

func TestAnObjectThatRefersToItselfByItsSecondIDIsSent(t *testing.T) {
	r := newRig(1, memoryIndex{}, newMemoryStore(), nil)
	r.put(t, object(t, `{"type":"report","id":"report--1","x_opencti_id":"alt-1","object_refs":["alt-1"]}`))
	r.finish(t, pipeline.Complete)
	if len(r.queue.messages) != 1 {
		t.Errorf("%d messages", len(r.queue.messages))
	}
}
