// Package report holds what a measurement of the connector came to against goals, and writes it for people and for machines.
package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Report is all that one measurement came to.
type Report struct {
	Version string        `json:"version"`         // of the connector
	Quick   bool          `json:"quick,omitempty"` // its inputs are too small to decide anything
	Started time.Time     `json:"started"`
	Took    time.Duration `json:"took_ns"`
	Failed  []string      `json:"failed,omitempty"` // the steps that failed
	Cut     []string      `json:"cut,omitempty"`    // the steps that had fewer rounds, for want of time
	Machine Machine       `json:"machine"`
	Input   Input         `json:"input"`
	Rows    []Row         `json:"rows"`
	Stages  []Share       `json:"stages"` // of the CPU for an object, without a broker
	Twins   []Share       `json:"twins"`  // what the simulated remotes took beside
	Plots   []Plot        `json:"plots"`
}

// Machine is what it was measured on.
type Machine struct {
	CPU      string  `json:"cpu"`
	Cores    int     `json:"cores"`
	Memory   float64 `json:"memory_gib"`
	System   string  `json:"system"`
	Go       string  `json:"go"`
	RabbitMQ string  `json:"rabbitmq,omitempty"` // "" where there is none
	// The processors' time that other things had, in percent: right before the measurement, and in the course of it. Nil where the
	// system does not tell.
	BusyBefore *float64 `json:"busy_percent_before"`
	BusyDuring *float64 `json:"busy_percent_during"`
}

// Input is what was imported, in objects.
type Input struct {
	Medium  string `json:"medium"` // in words
	Pairs   string `json:"pairs"`
	Million string `json:"million"`
	Corpus  string `json:"corpus"`
}

// Share is the CPU that a part took, in µs for an object.
type Share struct {
	Name   string  `json:"name"`
	Micros float64 `json:"us_per_object"`
}

// Plot is a drawing beside the report.
type Plot struct {
	File    string `json:"file"`
	Title   string `json:"title"`
	Caption string `json:"caption"`
}

// New is a report of nothing yet.
func New() *Report { return &Report{Rows: Rows()} }

// Row returns the row of a name, to be filled. It panics for a name that Rows has not.
func (r *Report) Row(name string) *Row {
	i := slices.IndexFunc(r.Rows, func(row Row) bool { return row.Name == name })
	if i < 0 {
		panic("no row is called " + name)
	}
	return &r.Rows[i]
}

// Add adds a sample to the row of a name.
func (r *Report) Add(name string, sample float64) {
	row := r.Row(name)
	row.Samples = append(row.Samples, sample)
}

// Untold is why a row has no figures that the system would have to tell.
const Untold = "this system does not tell"

// AddTold adds a sample of what is never 0 but where the system does not tell: there the row goes without.
func (r *Report) AddTold(name string, sample float64) {
	if sample == 0 {
		r.Skip(Untold, name)
		return
	}
	r.Add(name, sample)
}

// Fail names a step that failed.
func (r *Report) Fail(step string) { r.Failed = append(r.Failed, step) }

// CutShort names a step that had fewer rounds than planned.
func (r *Report) CutShort(step string) {
	if !slices.Contains(r.Cut, step) {
		r.Cut = append(r.Cut, step)
	}
}

// Skip says why rows have no figures.
func (r *Report) Skip(why string, names ...string) {
	for _, name := range names {
		r.Row(name).Skipped = why
	}
}

// Missed lists the rows that miss their goals: the ratios, which decide, or the others.
func (r *Report) Missed(ratios bool) []Row { return r.with(Missed, ratios) }

// verdictOn is a row's verdict, which in the quick form is none.
func (r *Report) verdictOn(row Row) Verdict {
	if v := row.Verdict(); v != Missed || !r.Quick {
		return v
	}
	return WouldMiss
}

// reason says why a row has no figures, "" where it has some.
func (r *Report) reason(row Row) string {
	switch {
	case row.Verdict() != NotMeasured:
		return ""
	case row.Skipped == "" && len(r.Failed) > 0:
		return "a step failed: " + strings.Join(r.Failed, "; ")
	}
	return cmp.Or(row.Skipped, "nobody said why")
}

func (r *Report) with(v Verdict, ratios bool) (rows []Row) {
	for _, row := range r.Rows {
		if row.Ratio == ratios && row.Verdict() == v {
			rows = append(rows, row)
		}
	}
	return rows
}

// ExitStatus is what the program ends with: 2 where a step failed, else 1 where a ratio misses its goal and the form is not the quick
// one, else 0.
func (r *Report) ExitStatus() int {
	if len(r.Failed) > 0 {
		return 2
	}
	if !r.Quick && len(r.Missed(true)) > 0 {
		return 1
	}
	return 0
}

// JSON writes the report for machines, with the median and the verdict of each row.
func (r *Report) JSON(w io.Writer) error {
	type judged struct {
		Row
		Median  *float64 `json:"median"`
		Verdict Verdict  `json:"verdict"`
	}
	rows := make([]judged, len(r.Rows))
	for i, row := range r.Rows {
		rows[i] = judged{Row: row, Verdict: r.verdictOn(row)}
		if len(row.Samples) > 0 {
			m := row.Median()
			rows[i].Median = &m
		}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(struct {
		*Report
		Rows       []judged `json:"rows"`
		ExitStatus int      `json:"exit_status"`
	}{r, rows, r.ExitStatus()})
}

// plain are the units as benchstat takes them: names without blanks.
var plain = map[string]string{"%": "percent", "×": "times", "µs": "µs/object", "": "count"}

// comparable is the unit of a row for benchstat, which takes the mean of all rows of a unit: so ratios that should be small have one
// of their own.
func (r Row) comparable() string {
	unit := cmp.Or(plain[r.Unit], r.Unit)
	if (r.Unit == "%" || r.Unit == "×") && r.Goal != nil && r.Goal.Most > 0 {
		unit += "-taken"
	}
	return unit
}

// Benchstat writes every sample in the format of Go's benchmarks. Two measurements are compared where the lines at the head agree.
func (r *Report) Benchstat(w io.Writer) error {
	var b strings.Builder
	size := "full"
	if r.Quick {
		size = "quick"
	}
	fmt.Fprintf(&b, "cpu: %s\nsize: %s\nrabbitmq: %s\ngoversion: %s\n", r.Machine.CPU, size, cmp.Or(r.Machine.RabbitMQ, "none"), r.Machine.Go)
	for _, unit := range []string{"objects/s", "percent", "times"} {
		fmt.Fprintf(&b, "Unit %s better=higher\n", unit)
	}
	for _, row := range r.Rows {
		for _, v := range row.Samples {
			fmt.Fprintf(&b, "BenchmarkConnector/%s-%d 1 %g %s\n", row.Name, r.Machine.Cores, v, row.comparable())
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
