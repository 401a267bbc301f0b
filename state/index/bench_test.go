//go:build unix

package index

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkAMillionObjects looks up and puts a million objects, as the first run and a later one do, with a flush every
// 10,000, beside the ceiling: a map in memory that forgets everything at the end. Run it with -benchtime 1x.
func BenchmarkAMillionObjects(b *testing.B) {
	const objects = 1_000_000
	keys := make([]Key, objects)
	for i := range keys {
		var id [8]byte
		binary.LittleEndian.PutUint64(id[:], uint64(i))
		keys[i] = KeyOf(string(id[:]))
	}
	record := func(run uint32, i int) Record {
		return Record{Digest: uint64(i) * 0x9e3779b97f4a7c15, Modified: 1_700_000_000_000_000 + int64(i), Run: run, Seq: uint32(i)}
	}
	measure := func(b *testing.B, work func()) {
		before, heap := cpuTime(), heapNow()
		work()
		b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/objects/1000/float64(b.N), "µs-cpu/object")
		b.ReportMetric(float64(heapNow()-heap)/(1<<20), "MiB-heap")
	}
	b.Run("ceiling", func(b *testing.B) {
		measure(b, func() {
			for range b.N {
				m := map[Key]Record{}
				for i, k := range keys {
					if _, ok := m[k]; !ok {
						m[k] = record(1, i)
					}
				}
				runtime.KeepAlive(m)
			}
		})
	})
	for _, c := range []struct {
		name        string
		known, puts bool
	}{{"first run", false, true}, {"unchanged", true, false}, {"all changed", true, true}} {
		b.Run(c.name, func(b *testing.B) {
			x, _ := mustOpen(b, b.TempDir(), Options{})
			if c.known {
				for i, k := range keys {
					x.Put(k, record(1, i))
				}
			}
			measure(b, func() {
				for range b.N {
					for n := range keys {
						i := n * 7919 % objects
						if _, ok := x.Lookup(keys[i]); ok != c.known {
							b.Fatalf("object %d: %v", i, ok)
						}
						if c.puts {
							x.Put(keys[i], record(2, i))
						}
						if n%10_000 == 0 {
							x.Flush(context.Background())
						}
					}
				}
			})
			x.Flush(context.Background())
			mustClose(b, x)
			y, _ := mustOpen(b, x.dir, Options{})
			b.ReportMetric(float64(y.Size())/objects, "bytes-disk/object")
			mustClose(b, y)
		})
	}
}

// BenchmarkAHundredThousandWaiters saves a star of 100,000 objects that wait for one, reads them when it comes, and
// removes them. Run it with -benchtime 1x.
func BenchmarkAHundredThousandWaiters(b *testing.B) {
	const objects, batch = 100_000, 1000
	x, _ := mustOpen(b, b.TempDir(), Options{})
	w := x.Waiting()
	list := make([]Waiter, batch)
	ids := make([]string, batch)
	before, heap := cpuTime(), heapNow()
	for range b.N {
		for n := 0; n < objects; n += batch {
			for i := range list {
				id := fmt.Sprintf("relationship--%036d", n+i)
				list[i] = Waiter{Object: pipeline.Object{ID: id, JSON: make([]byte, 900)}, Missing: []string{"indicator--hub", id}, Kind: Parked}
			}
			if _, err := w.Save(context.Background(), list); err != nil {
				b.Fatal(err)
			}
		}
		clear(list)
		b.ReportMetric(float64(heapNow()-heap)/objects, "bytes-heap/object")
		b.ReportMetric(float64(w.Size())/objects, "bytes-disk/object")
		n := 0
		for waiter, err := range w.All() {
			if err != nil {
				b.Fatal(err)
			}
			ids[n%batch] = waiter.Object.ID
			if n++; n%batch == 0 {
				if err := w.Remove(context.Background(), ids); err != nil {
					b.Fatal(err)
				}
			}
		}
		if n != objects || w.Len() != 0 {
			b.Fatalf("%d objects read, %d left", n, w.Len())
		}
	}
	b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/objects/1000/float64(b.N), "µs-cpu/object")
}

func heapNow() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
