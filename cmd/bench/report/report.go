// Package report holds what a measurement of the connector came to against goals, and writes it for people and for machines.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Report is all that one measurement came to.
type Report struct {
	Version string        `json:"version"` // of the connector
	Quick   bool          `json:"quick,omitempty"`
	Started time.Time     `json:"started"`
	Took    time.Duration `json:"took_ns"`
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
	Busy     float64 `json:"busy_percent"`       // of the processors, with other things, right before
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

// Skip says why rows have no figures.
func (r *Report) Skip(why string, names ...string) {
	for _, name := range names {
		r.Row(name).Skipped = why
	}
}

// Missed lists the rows that miss their goals: the ratios, which decide, or the others.
func (r *Report) Missed(ratios bool) []Row { return r.with(Missed, ratios) }

func (r *Report) with(v Verdict, ratios bool) (rows []Row) {
	for _, row := range r.Rows {
		if row.Ratio == ratios && row.Verdict() == v {
			rows = append(rows, row)
		}
	}
	return rows
}

// ExitStatus is what the program ends with: 1 where a ratio misses its goal, else 0.
func (r *Report) ExitStatus() int {
	if len(r.Missed(true)) > 0 {
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
		rows[i] = judged{Row: row, Verdict: row.Verdict()}
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

// Benchstat writes every sample in the format of Go's benchmarks.
func (r *Report) Benchstat(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "cpu: %s\nUnit objects/s better=higher\n", r.Machine.CPU)
	for _, row := range r.Rows {
		unit := row.Unit
		if name, ok := plain[unit]; ok {
			unit = name
		}
		for _, v := range row.Samples {
			fmt.Fprintf(&b, "BenchmarkConnector/%s-%d 1 %g %s\n", row.Name, r.Machine.Cores, v, unit)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
