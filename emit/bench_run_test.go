package emit

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// benchRuns are runs as they come: indicators, an item each, whose author and marking are sent with each, before them or never, and
// profiles of relations between objects of their own.
var benchRuns = []struct {
	name string
	make func(n int) shape
}{
	{"author-with-each", func(n int) shape {
		var objects []pipeline.Object
		for i := range n / 3 {
			author, marking := ordinary("identity", 0), ordinary("marking-definition", 0)
			objects = append(objects, author, marking, ordinary("indicator", i, author.ID, marking.ID))
		}
		return shape{objects: objects, item: 3}
	}},
	{"indicators", func(n int) shape {
		author, marking := ordinary("identity", 0), ordinary("marking-definition", 0)
		objects := []pipeline.Object{author, marking}
		for i := range n {
			objects = append(objects, ordinary("indicator", i, author.ID, marking.ID))
		}
		return shape{objects: objects, item: 1}
	}},
	{"author-never", func(n int) shape {
		marking := ordinary("marking-definition", 0)
		objects := []pipeline.Object{marking}
		for i := range n {
			objects = append(objects, ordinary("indicator", i, ordinaryID("identity", 0), marking.ID))
		}
		return shape{objects: objects, item: 1}
	}},
	{"profiles", func(n int) shape {
		const each = 20
		var objects []pipeline.Object
		for i := range n / each {
			author, marking := ordinary("identity", i/100), ordinary("marking-definition", 0)
			subject := ordinary("threat-actor", i, author.ID, marking.ID)
			item := []pipeline.Object{author, marking, subject}
			for j := range (each - len(item)) / 2 {
				of := ordinary("malware", i*each+j, author.ID, marking.ID)
				item = append(item, ordinary("relationship", i*each+j, author.ID, marking.ID, subject.ID, of.ID), of)
			}
			objects = append(objects, item...)
		}
		return shape{objects: objects, item: each - 1}
	}},
}

// ordinaryID is as long as those of ThreatMatch.
func ordinaryID(typ string, i int) string {
	return fmt.Sprintf("%s--%08d-0000-4000-8000-000000000000", typ, i)
}

// ordinary is an object of ordinary size.
func ordinary(typ string, i int, refs ...string) pipeline.Object {
	o := shapeObject("x", i, refs...)
	o.ID, o.Type, o.Modified = ordinaryID(typ, i), typ, time.Unix(1700000000, 0)
	o.JSON = fmt.Appendf(nil, `{"type":%q,"id":%q,"refs":["%s"],"description":%q}`, typ, o.ID, strings.Join(refs, `","`), strings.Repeat("what is known of it ", 50))
	return o
}

// confirming is a broker that confirms at once.
type confirming struct{ messages int }

func (q *confirming) Publish(_ context.Context, _ []byte, settled func(error), _ func()) error {
	q.messages++
	settled(nil)
	return nil
}

func (q *confirming) Flush(context.Context, func()) error { return nil }

// BenchmarkRuns tells what the emitter takes for an object of an ordinary run, with an index on disk.
func BenchmarkRuns(b *testing.B) {
	for _, run := range benchRuns {
		for n := 10_000; n <= *benchMost; n *= 10 {
			b.Run(fmt.Sprintf("%s/%d", run.name, n), func(b *testing.B) {
				made := run.make(n)
				var took time.Duration
				var allocs, size, objects uint64
				for range b.N {
					before := memoryNow()
					took += deliverRun(b, made)
					after := memoryNow()
					allocs, size = allocs+after.Mallocs-before.Mallocs, size+after.TotalAlloc-before.TotalAlloc
					objects += uint64(len(made.objects))
				}
				b.ReportMetric(float64(took.Nanoseconds())/1000/float64(objects), "µs-cpu/object")
				b.ReportMetric(float64(allocs)/float64(objects), "allocs/object")
				b.ReportMetric(float64(size)/float64(objects), "B/object")
			})
		}
	}
}

func memoryNow() (m runtime.MemStats) {
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m
}

// deliverRun delivers a shape and returns the CPU's time.
func deliverRun(b *testing.B, s shape) time.Duration {
	x, _, err := index.Open(context.Background(), b.TempDir(), index.Identity{Connector: "c"}, index.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = x.Close() }()
	q := &confirming{}
	e := New(toQueue(q, Config{
		Index: x, Store: x.Waiting(), Durable: true, Mapping: testMapping(),
		Gauge: NewGauge(nil, 0, nil, zap.NewNop()), ApplicantID: "applicant", Run: 1,
	}))
	started := cpuTime(b)
	settled := func(pipeline.Outcome) {}
	for objects := range slices.Chunk(s.objects, s.item) {
		if err := e.Put(context.Background(), pipeline.Item{Dataset: "iocs", ID: "1"}, objects, settled); err != nil {
			b.Fatal(err)
		}
	}
	if err := e.Finish(context.Background(), pipeline.Complete); err != nil {
		b.Fatal(err)
	}
	took := cpuTime(b) - started
	if q.messages == 0 || e.account.parked.Load() > 0 {
		b.Fatalf("%d messages, %d wait", q.messages, e.account.parked.Load())
	}
	return took
}
