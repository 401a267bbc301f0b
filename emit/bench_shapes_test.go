package emit

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// benchMost is the largest number of objects that BenchmarkShapes delivers; a million take minutes and some gigabytes.
var benchMost = flag.Int("shapes.most", 100_000, "most objects in BenchmarkShapes")

// benchShapes are the graphs whose cost for each object is to be the same however many there are.
var benchShapes = []struct {
	name string
	make func(n int) shape
}{
	{"chain", func(n int) shape { return shape{objects: chainOf(n), item: 10} }},
	{"chain-backward", func(n int) shape { return shape{objects: reversed(chainOf(n)), item: 10} }},
	{"star-hub-first", func(n int) shape { return shape{objects: linksOf(n, true), item: 10} }},
	{"star-hub-last", func(n int) shape { return shape{objects: linksOf(n, false), item: 10} }},
	{"wide-first", shapes["one that refers to every other, first"]},
	{"ends-last", shapes["all relations first"]},
	{"cycles", shapes["many small cycles"]},
	{"one-cycle", shapes["one cycle"]},
	{"versions", func(n int) shape { return shape{objects: versionsOf(n, 1), item: 10} }},
	{"versions-that-wait", func(n int) shape { return shape{objects: waitingVersionsOf(n), item: 10} }},
	{"reports-over-the-same", func(n int) shape { return shape{objects: append(reportsOn(n, 10), others(10)...), item: 10} }},
	{"twice", func(n int) shape { return shape{objects: versionsOf(2, n/2), item: 10} }},
}

// linksOf is a star of relations from a hub, which comes first or last, to an object that comes first.
func linksOf(n int, hubFirst bool) []pipeline.Object {
	objects := []pipeline.Object{shapeObject("malware", 1)}
	hub := shapeObject("malware", 0)
	if hubFirst {
		objects = append(objects, hub)
	}
	for i := range n {
		objects = append(objects, shapeObject("relationship", i, hub.ID, shapeID("malware", 1)))
	}
	if !hubFirst {
		objects = append(objects, hub)
	}
	return objects
}

// versionsOf is so many versions of so many objects, one after the other.
func versionsOf(versions, objects int) []pipeline.Object {
	var all []pipeline.Object
	for v := range versions {
		for i := range objects {
			o := shapeObject("malware", i)
			o.Digest = uint64(v*objects + i + 1)
			o.Modified = time.Unix(int64(v+1), 0)
			all = append(all, o)
		}
	}
	return all
}

// waitingVersionsOf is so many versions of one object, which wait for what comes last.
func waitingVersionsOf(versions int) []pipeline.Object {
	target := shapeObject("tool", 0)
	var all []pipeline.Object
	for v := range versions {
		o := shapeObject("report", 0, target.ID)
		o.Digest, o.Modified = uint64(v+1), time.Unix(int64(v+1), 0)
		o.Stated = pipeline.Stated{Labels: uint32(v + 1)}
		o.JSON = fmt.Appendf(nil, `{"type":"report","id":%q,"labels":["l%d"],"object_refs":[%q]}`, o.ID, v, target.ID)
		all = append(all, o)
	}
	return append(all, target)
}

// BenchmarkShapes delivers each shape through an index on disk, with a broker that confirms at once. The microseconds of CPU for
// an object are what is to be flat from a thousand objects to a million: -args -shapes.most 1000000.
func BenchmarkShapes(b *testing.B) {
	for _, s := range benchShapes {
		for n := 1000; n <= *benchMost; n *= 10 {
			b.Run(fmt.Sprintf("%s/%d", s.name, n), func(b *testing.B) {
				objects := 0
				var took float64
				for range b.N {
					made := s.make(n)
					_, cpu := deliverShape(b, made, nil)
					objects += len(made.objects)
					took += float64(cpu.Microseconds())
				}
				b.ReportMetric(took/float64(objects), "µs-cpu/object")
			})
		}
	}
}
