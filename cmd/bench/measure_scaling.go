package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/bench/plot"
	"github.com/opencti-connectors/threatmatch/cmd/bench/report"
	"github.com/opencti-connectors/threatmatch/cmd/bench/twins"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
)

// keptAtMost is how many objects a twin makes beforehand: each takes about a kilobyte.
const keptAtMost = 200_000

// measureScaling imports more and more objects of the medium shape's proportions, up to a million.
func (b *bench) measureScaling(ctx context.Context) error {
	why := "only the full measurement imports a million"
	for _, objects := range b.scaling {
		if objects > keptAtMost && time.Since(b.report.Started) > millionTime {
			why = "the machine was so slow that the whole would have taken more than ten minutes"
			break
		}
		holds := generated(mixed(objects))
		holds.Fresh = objects > keptAtMost
		every := lookOften
		if objects > keptAtMost {
			every = lookSeldom
		}
		_, err := withSource(ctx, holds, 0, func(from source) error {
			w, err := b.newWorld(ctx, place{})
			if err != nil {
				return err
			}
			f, err := w.connect(ctx, from, every)
			a, ended := w.end()
			if err := errors.Join(err, ended); err != nil {
				return err
			}
			r := run{Footprint: f, arrived: a.Arrived}
			if r.messages, err = delivered(a); err == nil {
				b.scaled(r, holds)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("%d objects: %w", objects, err)
		}
	}
	if len(b.report.Row(report.MillionMemory).Samples) == 0 {
		b.report.Skip(why, report.MillionMemory, report.MillionRate, report.MillionFlat)
	}
	return nil
}

// scaled keeps what a number of objects took.
func (b *bench) scaled(r run, holds twins.Intelligence) {
	x := float64(r.messages)
	b.gallery.rates = append(b.gallery.rates, plot.Point{X: x, Y: r.whole()})
	b.gallery.cpus = append(b.gallery.cpus, plot.Point{X: x, Y: r.perObject(r.CPU)})
	b.gallery.peaks = append(b.gallery.peaks, plot.Point{X: x, Y: float64(r.Peak) / mib})
	if r.messages < 900_000 {
		return
	}
	b.gallery.million = r
	b.report.Input.Million = says(holds.Shape, r.messages)
	b.report.AddTold(report.MillionMemory, float64(r.Peak)/mib)
	b.report.Add(report.MillionRate, r.whole())
	b.report.Add(report.MillionFlat, 100*r.tenth(9)/r.tenth(1))
}

// tenth is the messages a second in one tenth of the messages, counted from 0.
func (r run) tenth(n int) float64 {
	reached := func(messages int) twins.Arrivals {
		i := slices.IndexFunc(r.arrived, func(a twins.Arrivals) bool { return a.Messages >= messages })
		return r.arrived[max(0, i)]
	}
	from, to := reached(r.messages*n/10), reached(r.messages*(n+1)/10)
	return float64(to.Messages-from.Messages) / to.At.Sub(from.At).Seconds()
}

// certificates are what the image takes from the one that it is built in.
const certificates = "/etc/ssl/certs/ca-certificates.crt"

// measureSizes looks at the program's file, and adds up what deploy/Dockerfile puts beside it: where no engine for containers need
// be, the image is that and no more, for it is made from nothing.
func (b *bench) measureSizes(context.Context) error {
	program, err := os.Stat(b.binary)
	if err != nil {
		return err
	}
	const mb = 1e6
	b.report.Add(report.BinarySize, float64(program.Size())/mb)
	// The bill of materials and the licences are 400 kB at most; a missing file is counted as large as Debian's is.
	beside, note := int64(400_000), "the bill of materials and the licences are taken for 400 kB"
	if file, err := os.Stat(certificates); err == nil {
		beside += file.Size()
	} else {
		beside += 250_000
		note += ", the certificates for 250 kB"
	}
	b.report.Add(report.ImageSize, float64(program.Size()+beside)/mb)
	b.report.Row(report.ImageSize).Note = fmt.Sprintf("added up from sizes, not built; %s; %s of it is not the program", note, words.Bytes(beside))
	return nil
}
