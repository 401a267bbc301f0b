package exposition

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// sum is a figure that Go programs are known to tell: figures of the runtime added up.
type sum struct {
	name, help string
	kind       Kind
	of         []string
}

// sums are those of every Go program.
func sums() []sum {
	const (
		heap     = "/memory/classes/heap/"
		metadata = "/memory/classes/metadata/"
	)
	return []sum{
		{"go_gc_gogc_percent", "How much the heap may grow between two collections, GOGC.", Gauge, []string{"/gc/gogc:percent"}},
		{"go_gc_gomemlimit_bytes", "The limit that the memory is to keep to, GOMEMLIMIT.", Gauge, []string{"/gc/gomemlimit:bytes"}},
		{"go_goroutines", "Goroutines that there are.", Gauge, []string{"/sched/goroutines:goroutines"}},
		{"go_sched_gomaxprocs_threads", "Threads that may execute Go at a time, GOMAXPROCS.", Gauge, []string{"/sched/gomaxprocs:threads"}},
		{"go_memstats_alloc_bytes", "Bytes of objects on the heap.", Gauge, []string{heap + "objects:bytes"}},
		{"go_memstats_alloc_bytes_total", "Bytes of all objects that were ever put on the heap.", Counter, []string{"/gc/heap/allocs:bytes"}},
		{"go_memstats_buck_hash_sys_bytes", "Bytes for the tables of profiles.", Gauge, []string{"/memory/classes/profiling/buckets:bytes"}},
		{"go_memstats_frees_total", "Objects that were taken from the heap.", Counter, []string{"/gc/heap/frees:objects", "/gc/heap/tiny/allocs:objects"}},
		{"go_memstats_gc_sys_bytes", "Bytes that the collector needs.", Gauge, []string{metadata + "other:bytes"}},
		{"go_memstats_heap_alloc_bytes", "Bytes of objects on the heap, as go_memstats_alloc_bytes.", Gauge, []string{heap + "objects:bytes"}},
		{"go_memstats_heap_idle_bytes", "Bytes of the heap that hold nothing.", Gauge, []string{heap + "released:bytes", heap + "free:bytes"}},
		{"go_memstats_heap_inuse_bytes", "Bytes of the heap that are taken, with the gaps between objects.", Gauge, []string{heap + "objects:bytes", heap + "unused:bytes"}},
		{"go_memstats_heap_objects", "Objects on the heap.", Gauge, []string{"/gc/heap/objects:objects"}},
		{"go_memstats_heap_released_bytes", "Bytes of the heap that were given back to the system.", Gauge, []string{heap + "released:bytes"}},
		{"go_memstats_heap_sys_bytes", "Bytes that the system has for the heap.", Gauge, []string{heap + "objects:bytes", heap + "unused:bytes", heap + "released:bytes", heap + "free:bytes"}},
		{"go_memstats_mallocs_total", "Objects that were ever put on the heap.", Counter, []string{"/gc/heap/allocs:objects", "/gc/heap/tiny/allocs:objects"}},
		{"go_memstats_mcache_inuse_bytes", "Bytes of the threads' caches that are taken.", Gauge, []string{metadata + "mcache/inuse:bytes"}},
		{"go_memstats_mcache_sys_bytes", "Bytes that the system has for them.", Gauge, []string{metadata + "mcache/inuse:bytes", metadata + "mcache/free:bytes"}},
		{"go_memstats_mspan_inuse_bytes", "Bytes of the heap's own tables that are taken.", Gauge, []string{metadata + "mspan/inuse:bytes"}},
		{"go_memstats_mspan_sys_bytes", "Bytes that the system has for them.", Gauge, []string{metadata + "mspan/inuse:bytes", metadata + "mspan/free:bytes"}},
		{"go_memstats_next_gc_bytes", "Size of the heap at which it is collected next.", Gauge, []string{"/gc/heap/goal:bytes"}},
		{"go_memstats_other_sys_bytes", "Bytes for what is none of the others.", Gauge, []string{"/memory/classes/other:bytes"}},
		{"go_memstats_stack_inuse_bytes", "Bytes of goroutines' stacks.", Gauge, []string{heap + "stacks:bytes"}},
		{"go_memstats_stack_sys_bytes", "Bytes that the system has for stacks.", Gauge, []string{heap + "stacks:bytes", "/memory/classes/os-stacks:bytes"}},
		{"go_memstats_sys_bytes", "Bytes that the system has given to Go.", Gauge, []string{"/memory/classes/total:bytes"}},
	}
}

func (s sum) read() float64 {
	parts := make([]metrics.Sample, len(s.of))
	for i, name := range s.of {
		parts[i].Name = name
	}
	metrics.Read(parts)
	whole := uint64(0)
	for _, part := range parts {
		whole += part.Value.Uint64()
	}
	return float64(whole)
}

// AddGo adds what Go knows of the program.
func (r *Registry) AddGo() {
	for _, figure := range sums() {
		r.Add(figure.name, figure.help, figure.kind, func(s *Samples) { s.Add(figure.read(), nil) })
	}
	r.Add("go_info", "1, with the version of Go.", Gauge, func(s *Samples) { s.Add(1, Labels{"version": runtime.Version()}) })
	r.Add("go_threads", "Threads that were created.", Gauge, func(s *Samples) {
		n, _ := runtime.ThreadCreateProfile(nil)
		s.Add(float64(n), nil)
	})
	r.Add("go_memstats_last_gc_time_seconds", "When the heap was last collected, 0 for never.", Gauge, func(s *Samples) {
		if at := collections().LastGC; at.UnixNano() > 0 {
			s.Add(float64(at.UnixNano())/1e9, nil)
			return
		}
		s.Add(0, nil)
	})
	r.Add("go_gc_duration_seconds", "How long collections stopped the program, of the last that are kept.", Summary, func(s *Samples) {
		of := collections()
		quantiles := map[float64]float64{}
		for i, pause := range of.PauseQuantiles {
			quantiles[float64(i)/float64(len(of.PauseQuantiles)-1)] = pause.Seconds()
		}
		s.Summary(uint64(of.NumGC), of.PauseTotal.Seconds(), quantiles)
	})
}

// collections are those of the heap, with the shortest pause, the longest and three between.
func collections() debug.GCStats {
	of := debug.GCStats{PauseQuantiles: make([]time.Duration, 5)}
	debug.ReadGCStats(&of)
	return of
}
