//go:build linux

package endtoend

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/bench/plot"
)

// soakRecord is what a connector took of the machine in the course of a soak, and what happened to it meanwhile.
type soakRecord struct {
	began  time.Time
	states atomic.Int64 // that were held against what had arrived

	mu      sync.Mutex
	samples []soakSample
	events  []soakEvent
}

// soakSample is what one look found.
type soakSample struct {
	at                                    time.Duration // since the beginning
	memory, goroutines, descriptors, disk float64       // MiB of memory that no file backs, and MiB of the folder
}

type soakEvent struct {
	at   time.Duration
	what string
}

func newSoakRecord() *soakRecord { return &soakRecord{began: time.Now()} }

func (r *soakRecord) note(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, soakEvent{time.Since(r.began), what})
}

// watch looks every second or two, until stop is closed.
func (r *soakRecord) watch(l *soakLife, stop <-chan struct{}) {
	for wait(1500*time.Millisecond, stop) {
		p := l.program.Load()
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
		if err != nil {
			continue // it has ended, and another one comes
		}
		s := soakSample{at: time.Since(r.began), memory: anonymous(status), disk: folderSize(l.stateDir)}
		descriptors, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
		s.descriptors = float64(len(descriptors))
		if _, text, err := ask(l.metrics, "/metrics"); err == nil {
			s.goroutines = series(l.t, text)["go_goroutines"]
		}
		if s.goroutines == 0 || s.memory == 0 {
			continue
		}
		r.mu.Lock()
		r.samples = append(r.samples, s)
		r.mu.Unlock()
	}
}

// anonymous reads the MiB of memory that no file backs.
func anonymous(status []byte) float64 {
	_, rest, _ := bytes.Cut(status, []byte("RssAnon:"))
	number, _, _ := bytes.Cut(bytes.TrimSpace(rest), []byte(" "))
	kib, err := strconv.ParseFloat(string(number), 64)
	if err != nil {
		return 0
	}
	return kib / 1024
}

// folderSize is the MiB that the files of a folder have.
func folderSize(dir string) (mib float64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error { // files come and go
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				mib += float64(info.Size()) / (1 << 20)
			}
		}
		return nil
	})
	return mib
}

// soakCurves are what is plotted, and what each may grow by from the second quarter of a soak to the last: the folder grows with
// the objects that were delivered.
var soakCurves = []struct {
	name  string
	value func(soakSample) float64
	slack float64 // beside a quarter; 0 for what may grow
}{
	{"memory, MiB", func(s soakSample) float64 { return s.memory }, 8},
	{"goroutines", func(s soakSample) float64 { return s.goroutines }, 10},
	{"open files and sockets", func(s soakSample) float64 { return s.descriptors }, 5},
	{"CONNECTOR_STATE_DIR, MiB", func(s soakSample) float64 { return s.disk }, 0},
}

// grown lists the curves that are not flat.
func (r *soakRecord) grown() (grown []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.samples)
	if n < 40 {
		return []string{fmt.Sprintf("%d samples say nothing", n)}
	}
	for _, c := range soakCurves {
		before, after := median(r.samples[n/4:n/2], c.value), median(r.samples[3*n/4:], c.value)
		if c.slack > 0 && after > before*1.25+c.slack {
			grown = append(grown, fmt.Sprintf("%s: %.1f in the second quarter, %.1f in the last", c.name, before, after))
		}
	}
	return grown
}

func TestWhatGrowsInASoakIsNotFlat(t *testing.T) {
	for name, tt := range map[string]struct {
		memory func(n int) float64
		flat   bool
	}{
		"as it was":            {func(int) float64 { return 20 }, true},
		"up and down":          {func(n int) float64 { return float64(20 + n%7) }, true},
		"warm after a quarter": {func(n int) float64 { return float64(min(n, 100)) }, true},
		"a leak":               {func(n int) float64 { return 20 + float64(n)/10 }, false},
	} {
		r := newSoakRecord()
		for n := range 400 {
			r.samples = append(r.samples, soakSample{memory: tt.memory(n), goroutines: 50, descriptors: 30, disk: float64(n)})
		}
		if grown := r.grown(); (len(grown) == 0) != tt.flat {
			t.Errorf("%s: %q", name, grown)
		}
	}
}

func median(samples []soakSample, value func(soakSample) float64) float64 {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = value(s)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// String says what the curves came to.
func (r *soakRecord) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	count := map[string]int{}
	for _, e := range r.events {
		count[e.what]++
	}
	var parts []string
	for what, n := range count {
		parts = append(parts, fmt.Sprintf("%d × %s", n, what))
	}
	slices.Sort(parts)
	text := fmt.Sprintf("%d states checked; %s", r.states.Load(), strings.Join(parts, ", "))
	if len(r.samples) == 0 {
		return text
	}
	for _, c := range soakCurves {
		most := 0.0
		for _, s := range r.samples {
			most = max(most, c.value(s))
		}
		n := len(r.samples)
		text += fmt.Sprintf("\n%s: median %.1f in the first quarter, %.1f in the last, %.1f at most", c.name,
			median(r.samples[:max(1, n/4)], c.value), median(r.samples[3*n/4:], c.value), most)
	}
	return text
}

// plot draws the curves over time, one above the other, with the moments at which something happened.
func (r *soakRecord) plot(title string) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	var marks []plot.Mark
	for _, e := range r.events {
		marks = append(marks, plot.Mark{X: e.at.Minutes(), Text: fmt.Sprint(e.at.Round(time.Second), " ", e.what)})
	}
	var panels []plot.Panel
	for _, c := range soakCurves {
		p := plot.Panel{Title: c.name, X: plot.Axis{Label: "time, minutes"}, Marks: marks, Curves: []plot.Curve{{}}}
		for _, s := range r.samples {
			p.Curves[0].Points = append(p.Curves[0].Points, plot.Point{X: s.at.Minutes(), Y: c.value(s)})
		}
		panels = append(panels, p)
	}
	return plot.Lines(title, panels...)
}
