package exposition

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Samples takes the figures of a family.
type Samples struct {
	name  string
	lines []string
}

// Add tells the figure with these labels, nil for none.
func (s *Samples) Add(value float64, labels Labels) { s.add("", value, labels) }

// Histogram tells how many were counted, what they add up to, and of each bound how many did not exceed it.
func (s *Samples) Histogram(count uint64, sum float64, buckets map[float64]uint64) {
	for _, bound := range slices.Sorted(maps.Keys(buckets)) {
		s.add("_bucket", float64(buckets[bound]), Labels{"le": number(bound)})
	}
	s.add("_bucket", float64(count), Labels{"le": "+Inf"})
	s.total(count, sum)
}

// Summary tells how many were counted, what they add up to, and what share of them did not exceed which value.
func (s *Samples) Summary(count uint64, sum float64, quantiles map[float64]float64) {
	for _, share := range slices.Sorted(maps.Keys(quantiles)) {
		s.add("", quantiles[share], Labels{"quantile": number(share)})
	}
	s.total(count, sum)
}

func (s *Samples) total(count uint64, sum float64) {
	s.add("_sum", sum, nil)
	s.add("_count", float64(count), nil)
}

func (s *Samples) add(suffix string, value float64, labels Labels) {
	var line strings.Builder
	line.WriteString(s.name + suffix)
	between := "{"
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		line.WriteString(between + name + `="` + escapedLabel(labels[name]) + `"`)
		between = ","
	}
	if len(labels) > 0 {
		line.WriteByte('}')
	}
	line.WriteString(" " + number(value) + "\n")
	s.lines = append(s.lines, line.String())
}

// number writes one as Prometheus reads it: +Inf, -Inf and NaN as well.
func number(n float64) string { return strconv.FormatFloat(n, 'g', -1, 64) }

// escapedHelp keeps a text on its line, and escapedLabel within its quotes.
func escapedHelp(text string) string { return strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(text) }
func escapedLabel(text string) string {
	return strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`).Replace(text)
}
