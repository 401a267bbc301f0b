package plot

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Axis is one side of a panel.
type Axis struct {
	Label string // with the unit
	// Log gives each doubling the same length. What is not above zero is left out then.
	Log bool
	// Ticks are the values that are written beside the axis; nil has them chosen.
	Ticks []float64
}

// scale maps values to a share of the axis' length.
type scale struct {
	from, to float64
	log      bool
	ticks    []float64
}

// scaleOf covers values, and zero where the axis is linear.
func (a Axis) scaleOf(values []float64) scale {
	s := scale{from: math.Inf(1), to: math.Inf(-1), log: a.Log, ticks: a.Ticks}
	for _, v := range append(values, a.Ticks...) {
		if a.Log && v <= 0 {
			continue
		}
		s.from, s.to = min(s.from, v), max(s.to, v)
	}
	switch {
	case s.from > s.to && a.Log:
		s.from, s.to = 1, 10
	case s.from > s.to:
		s.from, s.to = 0, 1
	}
	if a.Log {
		if s.ticks == nil {
			s.from, s.to = math.Pow(10, math.Floor(math.Log10(s.from)+1e-9)), math.Pow(10, math.Ceil(math.Log10(s.to)-1e-9))
			for v := s.from; v <= s.to*1.001; v *= 10 {
				s.ticks = append(s.ticks, v)
			}
		}
		if s.from == s.to {
			s.to *= 10
		}
		return s
	}
	s.from = min(s.from, 0)
	if s.from == s.to {
		s.to = s.from + 1
	}
	if s.ticks == nil {
		step := niceStep((s.to - s.from) / 5)
		s.from, s.to = math.Floor(s.from/step)*step, math.Ceil(s.to/step-1e-9)*step
		for v := s.from; v <= s.to+step/2; v += step {
			s.ticks = append(s.ticks, v)
		}
	}
	return s
}

// niceStep is the smallest of 1, 2 and 5 times a power of ten that is not below a step.
func niceStep(least float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(least)))
	for _, factor := range []float64{1, 2, 5} {
		if factor*power >= least*0.999 {
			return factor * power
		}
	}
	return 10 * power
}

// at is where a value lies: 0 at the beginning of the axis, 1 at its end. It is false for what a logarithm has not.
func (s scale) at(v float64) (float64, bool) {
	if !s.log {
		return (v - s.from) / (s.to - s.from), true
	}
	if v <= 0 {
		return 0, false
	}
	return math.Log(v/s.from) / math.Log(s.to/s.from), true
}

// label writes a value in as few characters as it needs: 250, 0.05, 20k, 1M.
func label(v float64) string {
	switch m := math.Abs(v); {
	case m >= 1e6:
		return short(v/1e6) + "M"
	case m >= 1e4:
		return short(v/1e3) + "k"
	}
	return short(v)
}

func short(v float64) string {
	text := fmt.Sprintf("%.3g", v)
	if strings.Contains(text, "e") {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return text
}
