package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/bench/report"
	"github.com/opencti-connectors/threatmatch/cmd/bench/twins"
)

// mib is the number of bytes of the unit in which memory is reported.
const mib = 1 << 20

// withSource starts a ThreatMatch, lets it be measured, and ends it.
func withSource(ctx context.Context, holds twins.Intelligence, latency time.Duration, measure func(source) error) (asked twins.Account, err error) {
	from, err := newSource(ctx, holds, latency)
	if err != nil {
		return asked, err
	}
	err = measure(from)
	asked, ended := from.End()
	return asked, errors.Join(err, ended)
}

// memoryLimit is the GOMEMLIMIT under which a run is looked at.
const memoryLimit = 40 * mib

// anonymous is what a reader has to know of memory that is not looked up in the system's record.
const anonymous = "the largest of the samples, one every %s, without the pages of the program's file%s"

// measureMedium imports the medium shape with a broker that confirms at once.
func (b *bench) measureMedium(ctx context.Context) error {
	_, err := withSource(ctx, generated(b.medium), 0, func(from source) error {
		for range b.rounds(b.without) {
			r, err := b.once(ctx, from, place{})
			if err != nil {
				return err
			}
			b.report.Input.Medium = says(b.medium, r.messages)
			b.report.AddTold(report.MediumMemory, float64(r.Peak)/mib)
			b.report.Add(report.FirstMessage, r.arrived[0].At.Sub(r.Started).Seconds()*1000)
			b.gallery.medium = r
		}
		for range b.rounds(b.each) {
			r, err := b.once(ctx, from, place{}, fmt.Sprintf("GOMEMLIMIT=%d", memoryLimit))
			if err != nil {
				return err
			}
			b.report.AddTold(report.LimitedMemory, 100*float64(r.Anonymous)/memoryLimit)
		}
		return nil
	})
	b.report.Row(report.LimitedMemory).Note = fmt.Sprintf(anonymous, lookOften, ", which Go's limit does not count")
	return err
}

// queueType is a type of queue of RabbitMQ, and the rows that hold what was measured with it.
type queueType struct{ name, publishing, whole, rate string }

var (
	classic = queueType{"classic", report.PublishingClassic, report.WholeClassic, report.RateClassic}
	quorum  = queueType{"quorum", report.PublishingQuorum, report.WholeQuorum, report.RateQuorum}
)

// measurePairs lets the connector and the bare publisher publish the same messages in turn.
func (b *bench) measurePairs(ctx context.Context, kind queueType) error {
	if b.node == nil {
		return nil
	}
	at := place{url: b.node.URL(), queue: kind.name}
	_, err := withSource(ctx, generated(b.pairs), 0, func(from source) error {
		file, messages, err := b.recorded(ctx, from)
		if err != nil {
			return err
		}
		b.report.Input.Pairs = says(b.pairs, messages)
		for n := range b.rounds(b.pairsOf) {
			var own, bare run
			first, second := func() (err error) { own, err = b.once(ctx, from, at); return err },
				func() (err error) { bare, err = b.bare(ctx, at, file, messages); return err }
			if n%2 == 1 { // whoever is second may find a warmer machine
				first, second = second, first
			}
			if err := first(); err != nil {
				return err
			}
			if err := second(); err != nil {
				return err
			}
			if own.publishing() > 0 && bare.publishing() > 0 {
				b.report.Add(kind.publishing, 100*own.publishing()/bare.publishing())
				b.report.Add(kind.rate, own.publishing())
			}
			b.report.Add(kind.whole, 100*own.whole()/bare.whole())
			b.gallery.pair(kind, own, bare)
		}
		if len(b.report.Row(kind.publishing).Samples) == 0 {
			b.report.Skip("so few messages came between two looks at the queue", kind.publishing, kind.rate)
		}
		return nil
	})
	return err
}

// recorded are the messages of an import in a file, and how many there are.
func (b *bench) recorded(ctx context.Context, from source) (file string, messages int, err error) {
	file = filepath.Join(b.dir, "messages")
	r, err := b.once(ctx, from, place{record: file})
	return file, r.messages, err
}

// measureKinds imports profiles alone, with large objects, and indicators alone.
func (b *bench) measureKinds(ctx context.Context) error {
	for _, kind := range []struct {
		row   string
		holds twins.Intelligence
	}{
		{report.CPUObject, twins.Intelligence{Shape: shape(b.profiles, 0, 0), ObjectSize: 4000}},
		{report.CPUIndicator, generated(shape(0, 0, b.indicators))},
	} {
		_, err := withSource(ctx, kind.holds, 0, func(from source) error {
			for range b.rounds(b.each) {
				r, err := b.once(ctx, from, place{})
				if err != nil {
					return err
				}
				b.report.Add(kind.row, r.perObject(r.CPU))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// measureQuiet imports the medium shape and then, as a schedule would, runs again with nothing new.
func (b *bench) measureQuiet(ctx context.Context) error {
	_, err := withSource(ctx, generated(b.medium), 0, func(from source) error {
		w, err := b.newWorld(ctx, place{})
		if err != nil {
			return err
		}
		_, err = w.connect(ctx, from, lookOften)
		if err == nil {
			err = b.quietRuns(ctx, w, from)
		}
		a, ended := w.end()
		if err := errors.Join(err, ended); err != nil {
			return err
		}
		b.report.Add(report.QuietWorks, float64(len(a.Works)-1))
		return nil
	})
	b.report.Row(report.QuietMemory).Note = fmt.Sprintf(anonymous, lookQuiet, "")
	return err
}

// quietRuns runs the connector in a world that has everything.
func (b *bench) quietRuns(ctx context.Context, w *world, from source) error {
	for range b.rounds(b.each) {
		f, err := w.connect(ctx, from, lookQuiet)
		if err != nil {
			return err
		}
		b.report.Add(report.QuietTime, f.Wall.Seconds()*1000)
		b.report.AddTold(report.QuietMemory, float64(f.Anonymous)/mib)
	}
	return nil
}
