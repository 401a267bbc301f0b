package pipeline

import (
	"sync"
	"sync/atomic"
	"time"
)

// Meter tells at any time how a run gets on inside. Its zero value tells of none; it may be read from any goroutine, and costs the
// run three additions an item.
type Meter struct {
	mu   sync.Mutex // guards all below
	run  *importRun // nil between two
	last Reading
}

// Reading is a run at a moment.
type Reading struct {
	// Fetched, Transformed and Emitted count the items that each stage has passed on, Objects what was made of them.
	Fetched, Transformed, Emitted, Objects int64
	// LeftOut counts items and objects that were left out, Problems what the sources could not read.
	LeftOut, Problems int64
	// ToTransform and ToEmit are the channels before these stages, in items.
	ToTransform, ToEmit Fill
	// Payload is what is between the sources and the broker, in bytes, see [Config.Payload].
	Payload Fill
	// Oldest is when the oldest page of each dataset was opened of which something is neither kept nor delivered; a dataset
	// without one is not there.
	Oldest map[string]time.Time
}

// Fill is how full a bounded place is.
type Fill struct{ Used, Bound int64 }

// passed counts what the stages of a run have passed on.
type passed struct{ fetched, transformed, emitted, objects atomic.Int64 }

// begin takes up a run.
func (m *Meter) begin(r *importRun) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.run = r
}

// end keeps the last reading, and nothing else of the run: its sink may hold much.
func (m *Meter) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.run, m.last = nil, m.run.read()
}

// Read reads the run under way or, between two, the end of the last one.
func (m *Meter) Read() Reading {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.run != nil {
		return m.run.read()
	}
	return m.last
}

func (r *importRun) read() Reading {
	leftOut, problems := r.failures()
	return Reading{
		LeftOut: leftOut, Problems: problems,
		Fetched: r.passed.fetched.Load(), Transformed: r.passed.transformed.Load(), Emitted: r.passed.emitted.Load(), Objects: r.passed.objects.Load(),
		ToTransform: Fill{int64(len(r.items)), int64(cap(r.items))}, ToEmit: Fill{int64(len(r.transformed)), int64(cap(r.transformed))},
		Payload: Fill{r.payload.used.Load(), r.payload.bytes}, Oldest: r.ledger.oldest(),
	}
}

// failures counts what was left out and what could not be read, so far.
func (r *importRun) failures() (leftOut, problems int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.report.Datasets {
		leftOut, problems = leftOut+int64(d.Rejected), problems+int64(d.Problems)
	}
	return leftOut, problems
}
