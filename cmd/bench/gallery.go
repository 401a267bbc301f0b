package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/bench/plot"
	"github.com/opencti-connectors/threatmatch/cmd/bench/report"
	"github.com/opencti-connectors/threatmatch/cmd/bench/twins"
)

// gallery keeps what is drawn when everything has been measured.
type gallery struct {
	medium, without, million run
	pairs                    map[string][2]run // the connector's and the bare publisher's last, by type of queue
	items, pages, ideal      []plot.Point      // calls a second over concurrency
	rates, cpus, peaks       []plot.Point      // over objects
}

func (g *gallery) pair(kind queueType, own, bare run) {
	if g.pairs == nil {
		g.pairs = map[string][2]run{}
	}
	g.pairs[kind.name] = [2]run{own, bare}
}

// write draws the pictures and writes the report beside them.
func (b *bench) write() error {
	b.report.Plots = nil
	for _, d := range []func() (report.Plot, []byte){b.throughput, b.memory, b.stagesDrawn, b.scalingDrawn, b.concurrencyDrawn} {
		p, svg := d()
		if err := os.WriteFile(filepath.Join(b.out, p.File), svg, 0o644); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
		b.report.Plots = append(b.report.Plots, p)
	}
	for _, file := range []struct {
		name  string
		write func(io.Writer) error
	}{
		{"report.md", b.report.Markdown},
		{"report.json", b.report.JSON},
		{"benchstat.txt", b.report.Benchstat},
	} {
		f, err := os.Create(filepath.Join(b.out, file.name))
		if err == nil {
			err = file.write(f)
			if closed := f.Close(); err == nil {
				err = closed
			}
		}
		if err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	return nil
}

// arrivedOver is how many messages there were in the course of a run.
func (r run) arrivedOver() []plot.Point {
	points := []plot.Point{{}}
	for _, a := range r.arrived {
		points = append(points, plot.Point{X: a.At.Sub(r.Started).Seconds(), Y: float64(a.Messages)})
	}
	return points
}

// rateOver is the messages a second in slices of a fortieth of the run.
func (r run) rateOver() (points []plot.Point) {
	slice := r.Wall / 40
	last := twins.Arrivals{At: r.Started}
	for _, a := range r.arrived {
		if took := a.At.Sub(last.At); took >= slice {
			middle := last.At.Add(took / 2).Sub(r.Started)
			points = append(points, plot.Point{X: middle.Seconds(), Y: float64(a.Messages-last.Messages) / took.Seconds()})
			last = a
		}
	}
	return points
}

func (r run) memoryOver() (resident, anonymous []plot.Point) {
	for _, s := range r.Memory {
		resident = append(resident, plot.Point{X: s.At.Seconds(), Y: float64(s.Resident) / mib})
		anonymous = append(anonymous, plot.Point{X: s.At.Seconds(), Y: float64(s.Anonymous) / mib})
	}
	return resident, anonymous
}

func (b *bench) throughput() (report.Plot, []byte) {
	seconds := plot.Axis{Label: "time since the start of the process, s"}
	var panels []plot.Panel
	for _, kind := range []queueType{classic, quorum} {
		if pair, ok := b.gallery.pairs[kind.name]; ok {
			panels = append(panels, plot.Panel{Title: "RabbitMQ, " + kind.name + " queue", X: seconds, Y: plot.Axis{Label: "messages in the queue"},
				Curves: []plot.Curve{{Name: "connector", Points: pair[0].arrivedOver()}, {Name: "bare publisher", Points: pair[1].arrivedOver()}}})
		}
	}
	for _, of := range []struct {
		title string
		run
	}{{"a broker that confirms at once", b.gallery.without}, {"a million objects, the same broker", b.gallery.million}} {
		if of.messages > 0 {
			panels = append(panels, plot.Panel{Title: of.title, X: seconds, Y: plot.Axis{Label: "objects/s"}, Curves: []plot.Curve{{Points: of.rateOver()}}})
		}
	}
	return report.Plot{File: "throughput.svg", Title: "Throughput over time",
		Caption: "Beside RabbitMQ the two lines should have the same slope; what lies between them at the start is the time until ThreatMatch's first answers. " +
			"Without RabbitMQ the speed should not fall on the way."}, plot.Lines("Throughput over time", panels...)
}

func (b *bench) memory() (report.Plot, []byte) {
	var panels []plot.Panel
	for _, of := range []struct {
		title string
		run
	}{{"the medium import", b.gallery.medium}, {"a million objects", b.gallery.million}} {
		if of.messages > 0 {
			resident, anonymous := of.memoryOver()
			panels = append(panels, plot.Panel{Title: of.title, X: plot.Axis{Label: "time since the start of the process, s"}, Y: plot.Axis{Label: "MiB"},
				Curves: []plot.Curve{{Name: "in RAM", Points: resident}, {Name: "without files", Points: anonymous}}})
		}
	}
	return report.Plot{File: "memory.svg", Title: "Memory over time", Caption: "It should be flat: it must not grow with what is imported."},
		plot.Lines("Memory over time", panels...)
}

func (b *bench) stagesDrawn() (report.Plot, []byte) {
	var bars []plot.Bar
	for _, s := range b.report.Stages {
		bars = append(bars, plot.Bar{Name: s.Name, Value: s.Micros})
	}
	return report.Plot{File: "stages.svg", Title: "Where the time goes", Caption: "User and system time, of a run of the connector's packages with a broker that confirms at once."},
		plot.Bars("Where the time goes", "µs of CPU for an object", bars)
}

func (b *bench) scalingDrawn() (report.Plot, []byte) {
	objects := plot.Axis{Label: "objects", Log: true}
	panel := func(title, unit string, points []plot.Point) plot.Panel {
		return plot.Panel{Title: title, X: objects, Y: plot.Axis{Label: unit}, Curves: []plot.Curve{{Points: points, Dots: true}}}
	}
	return report.Plot{File: "scaling.svg", Title: "Scaling",
			Caption: "One run each, with a broker that confirms at once. Of few objects the start and the end are most of the time. The CPU for an object, and the memory, should be flat where there are many."},
		plot.Lines("From a thousand objects on", panel("speed, start and end included", "objects/s", b.gallery.rates),
			panel("CPU for an object", "µs", b.gallery.cpus), panel("largest memory", "MiB", b.gallery.peaks))
}

func (b *bench) concurrencyDrawn() (report.Plot, []byte) {
	var ticks []float64
	for _, p := range b.gallery.ideal {
		ticks = append(ticks, p.X)
	}
	return report.Plot{File: "concurrency.svg", Title: "Concurrency",
			Caption: fmt.Sprintf("Calls a second to an API that takes %d ms for each, over THREATMATCH_CONCURRENCY. The dotted line is as fast as that can be.", latency/time.Millisecond)},
		plot.Lines("An API that takes its time", plot.Panel{Title: "calls a second", X: plot.Axis{Label: "THREATMATCH_CONCURRENCY", Log: true, Ticks: ticks},
			Y: plot.Axis{Label: "calls/s", Log: true}, Curves: []plot.Curve{{Name: "profiles", Points: b.gallery.items, Dots: true},
				{Name: "pages of indicators", Points: b.gallery.pages, Dots: true}, {Name: "calls at once ÷ latency", Points: b.gallery.ideal, Dotted: true}}})
}
