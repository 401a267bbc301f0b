package status

import (
	"context"
	"slices"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

const (
	sampleEvery = time.Second
	// mostSamples make rates over a quarter of a minute: long enough to be read, short enough to be of now.
	mostSamples = 16
)

// Lately is how the run under way has got on in the last quarter of a minute. Its zero value tells of none.
type Lately struct {
	// Fetched, Transformed and Emitted are items a second that each stage has passed on, Confirmed messages.
	Fetched, Transformed, Emitted, Confirmed float64
	// ToTransform, ToEmit and Window are how full the channels before these stages and the window of what is not confirmed were on
	// average, from 0 to 1.
	ToTransform, ToEmit, Window float64
	// Asking is the share of the time in which the emitter waited for an answer of OpenCTI.
	Asking float64
}

// sample is the run under way at a moment.
type sample struct {
	at                  time.Time
	pipeline.Reading          // of which Oldest is left away
	confirmed           int64 // messages
	toTransform, toEmit float64
	window, asking      float64
}

// Sample takes a sample every second until ctx ends.
func (s *Status) Sample(ctx context.Context) {
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.change(s.takeSample)
		case <-ctx.Done():
			return
		}
	}
}

// takeSample wants mu held.
func (s *Status) takeSample() {
	if s.emitter == nil {
		s.samples = nil
		return
	}
	r, broker := s.meter.Read(), s.publisher.Stats()
	now := sample{at: s.now(), Reading: r, confirmed: s.emitter.Account().Confirmed,
		toTransform: share(r.ToTransform.Used, r.ToTransform.Bound), toEmit: share(r.ToEmit.Used, r.ToEmit.Bound),
		window: share(broker.UnconfirmedBytes, s.window)}
	now.Oldest = nil
	if s.asking > 0 {
		now.asking = 1
	}
	s.samples = append(s.samples[max(0, len(s.samples)-mostSamples+1):], now)
}

func share(used, bound int64) float64 {
	if bound <= 0 {
		return 0
	}
	return min(1, max(0, float64(used)/float64(bound)))
}

// Lately may be called at any time.
func (s *Status) Lately() Lately { return read(s, s.lately) }

// lately wants mu held.
func (s *Status) lately() (l Lately) {
	if len(s.samples) < 2 {
		return l
	}
	first, last := s.samples[0], s.samples[len(s.samples)-1]
	took := last.at.Sub(first.at).Seconds()
	if took <= 0 {
		return l
	}
	rate := func(before, after int64) float64 { return float64(max(0, after-before)) / took }
	l = Lately{
		Fetched: rate(first.Fetched, last.Fetched), Transformed: rate(first.Transformed, last.Transformed),
		Emitted: rate(first.Emitted, last.Emitted), Confirmed: rate(first.confirmed, last.confirmed),
	}
	n := float64(len(s.samples))
	for sample := range slices.Values(s.samples) {
		l.ToTransform += sample.toTransform / n
		l.ToEmit += sample.toEmit / n
		l.Window += sample.window / n
		l.Asking += sample.asking / n
	}
	return l
}
