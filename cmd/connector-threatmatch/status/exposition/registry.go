// Package exposition tells figures to Prometheus, in its text format, and those that it knows of every Go program under their usual names.
//
// It does the little that a program needs whose every figure is read where it is kept. The library for Prometheus keeps them itself
// and speaks a second format, for which it brings a tenth of this program.
package exposition

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
)

// Kind is what a family of figures is.
type Kind string

// The kinds. A histogram is told with [Samples.Histogram], a summary with [Samples.Summary].
const (
	Counter   Kind = "counter"
	Gauge     Kind = "gauge"
	Histogram Kind = "histogram"
	Summary   Kind = "summary"
)

// Labels are the names and values by which the figures of a family differ.
type Labels map[string]string

// Registry is the figures of a program. All are added before it is served.
type Registry struct{ families map[string]*family }

// family is the figures of one name.
type family struct {
	help string
	kind Kind
	read []func(*Samples)
}

// NewRegistry returns one without figures.
func NewRegistry() *Registry { return &Registry{families: map[string]*family{}} }

// Add adds figures to the family of their name, which has to be of their kind. Whenever somebody asks, read tells them: it must be safe
// for concurrent use and quick. A family that tells nothing is left out.
func (r *Registry) Add(name, help string, kind Kind, read func(*Samples)) {
	f := r.families[name]
	if f == nil {
		f = &family{help: help, kind: kind}
		r.families[name] = f
	}
	if f.help != help || f.kind != kind {
		panic(fmt.Sprintf("%s is two things", name))
	}
	f.read = append(f.read, read)
}

// Text is all figures as Prometheus reads them.
func (r *Registry) Text() []byte {
	var text []byte
	for _, name := range slices.Sorted(maps.Keys(r.families)) {
		f := r.families[name]
		told := Samples{name: name}
		for _, read := range f.read {
			read(&told)
		}
		if len(told.lines) == 0 {
			continue
		}
		if f.kind == Counter || f.kind == Gauge {
			slices.Sort(told.lines)
		}
		text = fmt.Appendf(text, "# HELP %s %s\n# TYPE %s %s\n", name, escapedHelp(f.help), name, f.kind)
		for _, line := range told.lines {
			text = append(text, line...)
		}
	}
	return text
}

// ServeHTTP answers with the text.
func (r *Registry) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(r.Text()) // who asked has gone
}
