package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
)

// Row is one figure that was measured, a sample for each run or pair of runs, and what it is held against.
type Row struct {
	Name    string    `json:"name"`    // stable, for machines
	What    string    `json:"what"`    // for people
	Unit    string    `json:"unit"`    // "" for a number of something that What names
	Samples []float64 `json:"samples"` // in the order of the runs
	Goal    *Goal     `json:"goal,omitempty"`
	// Ratio says that the figure is held against a bound of the same machine, or against arithmetic, so that a slow machine hardly
	// decides: only these make the program fail.
	Ratio bool `json:"ratio,omitempty"`
	// Skipped says why there is no figure.
	Skipped string `json:"skipped,omitempty"`
	// Note says what a reader has to know of the figure.
	Note string `json:"note,omitempty"`
}

// Goal is a bound for a figure.
type Goal struct {
	Least float64 `json:"least,omitempty"` // 0 for none
	Most  float64 `json:"most,omitempty"`  // 0 for none
	Below bool    `json:"below,omitempty"` // Most itself is too much
}

// AtLeast is the goal of a figure that should be large.
func AtLeast(v float64) *Goal { return &Goal{Least: v} }

// AtMost is the goal of a figure that should be small.
func AtMost(v float64) *Goal { return &Goal{Most: v} }

// Below is the goal of a figure that should be smaller than a bound.
func Below(v float64) *Goal { return &Goal{Most: v, Below: true} }

// met reports whether a figure reaches the goal.
func (g Goal) met(v float64) bool {
	switch {
	case math.IsNaN(v):
		return false
	case g.Least > 0 && v < g.Least:
		return false
	case g.Most > 0 && g.Below:
		return v < g.Most
	}
	return g.Most <= 0 || v <= g.Most
}

func (g Goal) text(unit string) string {
	switch {
	case g.Least > 0:
		return "≥ " + amount(g.Least, unit)
	case g.Below:
		return "< " + amount(g.Most, unit)
	}
	return "≤ " + amount(g.Most, unit)
}

// Verdict is what became of a row.
type Verdict string

// What can become of a row.
const (
	OK          Verdict = "ok"
	Missed      Verdict = "missed"
	WouldMiss   Verdict = "would miss" // with larger inputs it might not
	NotMeasured Verdict = "not measured"
	NoGoal      Verdict = "–"
)

// Verdict holds the median against the goal.
func (r Row) Verdict() Verdict {
	switch {
	case len(r.Samples) == 0:
		return NotMeasured
	case r.Goal == nil:
		return NoGoal
	case r.Goal.met(r.Median()):
		return OK
	}
	return Missed
}

// Median is the middle of the samples, NaN where there are none.
func (r Row) Median() float64 { return Median(r.Samples) }

// Spread is the smallest and the largest sample.
func (r Row) Spread() (least, most float64) {
	if len(r.Samples) == 0 {
		return math.NaN(), math.NaN()
	}
	return slices.Min(r.Samples), slices.Max(r.Samples)
}

// Median is the middle of values, or between the two in the middle; NaN where there are none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// figure writes the median.
func (r Row) figure() string {
	if len(r.Samples) == 0 {
		return "–"
	}
	return amount(r.Median(), r.Unit)
}

// spread writes how far the samples lie apart, and how many there are.
func (r Row) spread() string {
	switch len(r.Samples) {
	case 0:
		return ""
	case 1:
		return "1 run"
	}
	least, most := r.Spread()
	return fmt.Sprintf("%s–%s, %d runs", number(least), number(most), len(r.Samples))
}

func (r Row) goal() string {
	if r.Goal == nil {
		return ""
	}
	return r.Goal.text(r.Unit)
}

// amount writes a value with its unit.
func amount(v float64, unit string) string { return strings.TrimSpace(number(v) + " " + unit) }

// number writes a value as exactly as it is worth, thousands apart.
func number(v float64) string {
	switch m := math.Abs(v); {
	case math.IsNaN(v):
		return "–"
	case m >= 100:
		return words.Grouped(int64(math.Round(v)))
	case m >= 10:
		return trimmed(v, 1)
	}
	return trimmed(v, 2)
}

func trimmed(v float64, digits int) string {
	return strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(v, 'f', digits, 64), "0"), ".")
}
