package emit

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// BenchmarkAParkedObject tells what memory an object takes that waits for another, with its text on disk: a relation in a star
// whose hub has not come.
func BenchmarkAParkedObject(b *testing.B) {
	const objects = 20_000
	for range b.N {
		x, _, err := index.Open(context.Background(), b.TempDir(), index.Identity{}, index.Options{})
		if err != nil {
			b.Fatal(err)
		}
		e := New(toQueue(&ledgerQueue{t: b, at: map[string]int{}}, Config{
			Index: x, Store: x.Waiting(), Durable: true, Mapping: testMapping(), ParkedObjects: 2 * objects,
			Gauge: NewGauge(nil, 0, nil, zap.NewNop()), Run: 1,
		}))
		before := heapNow()
		for i := range objects {
			hub, other := fmt.Sprintf("malware--%036d", 0), fmt.Sprintf("tool--%036d", i)
			id := fmt.Sprintf("relationship--%036d", i)
			o := pipeline.Object{ID: id, Type: "relationship", Refs: []string{hub, other}, Digest: uint64(i + 1), Modified: time.Unix(1, 0),
				JSON: fmt.Appendf(nil, `{"type":"relationship","id":%q,"source_ref":%q,"target_ref":%q}`, id, hub, other)}
			if err := e.Put(context.Background(), pipeline.Item{Dataset: "profiles"}, []pipeline.Object{o}, func(pipeline.Outcome) {}); err != nil {
				b.Fatal(err)
			}
		}
		if err := e.shelf.saveParked(context.Background(), time.Now(), true); err != nil {
			b.Fatal(err)
		}
		e.shelf.freeMemory()
		if texts := textsInMemory(e); texts > 0 || e.order.parked != objects {
			b.Fatalf("%d parked, %d bytes of texts in memory", e.order.parked, texts)
		}
		b.ReportMetric(float64(heapNow()-before)/objects, "bytes-heap/object")
		runtime.KeepAlive(e)
		_ = x.Close()
	}
}

func heapNow() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
