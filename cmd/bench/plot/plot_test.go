package plot

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

// wellFormed fails the test unless a drawing is XML.
func wellFormed(t *testing.T, svg []byte) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(string(svg))); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
	}
}

func TestWhatIsDrawnIsXMLThatNamesAxesAndCurves(t *testing.T) {
	svg := Lines("A & B",
		Panel{Title: "<first>", X: Axis{Label: "time, s"}, Y: Axis{Label: "objects"}, Marks: []Mark{{1, "cut & healed"}},
			Curves: []Curve{{Name: "one", Points: []Point{{0, 0}, {1, 10}}}, {Name: "two", Points: []Point{{0, 5}}, Dots: true}}},
		Panel{Title: "empty"},
		Panel{Title: "log", X: Axis{Log: true}, Y: Axis{Log: true}, Curves: []Curve{{Points: []Point{{0, 1}, {1000, 20}, {1e6, 3}}, Dots: true, Dotted: true}}})
	wellFormed(t, svg)
	for _, want := range []string{"A &amp; B", "&lt;first&gt;", "time, s", "objects", ">two<", "cut &amp; healed", ">10k<", ">1M<", "stroke-dasharray"} {
		if !strings.Contains(string(svg), want) {
			t.Errorf("%q is missing in\n%s", want, svg)
		}
	}
	if strings.Contains(string(svg), "NaN") || strings.Contains(string(svg), "Inf") {
		t.Errorf("a place is no number:\n%s", svg)
	}
	bars := Bars("where", "µs", []Bar{{"a<b", 1.5}, {"none", 0}})
	wellFormed(t, bars)
	if !strings.Contains(string(bars), ">a&lt;b<") || !strings.Contains(string(bars), ">1.5<") {
		t.Errorf("a bar is not named:\n%s", bars)
	}
}

func TestAnAxisBeginsAtZeroUnlessItIsLogarithmic(t *testing.T) {
	for _, tt := range []struct {
		axis   Axis
		values []float64
		from   float64
		to     float64
		ticks  int
	}{
		{Axis{}, []float64{70, 93}, 0, 100, 6},
		{Axis{}, []float64{-3, 9}, -5, 10, 4},
		{Axis{}, nil, 0, 1, 6},
		{Axis{}, []float64{0, 0}, 0, 1, 6},
		{Axis{Log: true}, []float64{0, 1000, 1_000_000}, 1000, 1_000_000, 4},
		{Axis{Log: true}, []float64{3, 40}, 1, 100, 3},
		{Axis{Log: true}, []float64{5}, 1, 10, 2},
		{Axis{Log: true, Ticks: []float64{1, 2, 4}}, []float64{1, 4}, 1, 4, 3},
	} {
		s := tt.axis.scaleOf(tt.values)
		if s.from < tt.from-1e-9 || s.from > tt.from+1e-9 || s.to < tt.to-1e-6 || s.to > tt.to+1e-6 || len(s.ticks) != tt.ticks {
			t.Errorf("%v of %+v: %+v", tt.values, tt.axis, s)
		}
	}
}

func TestAValueIsWrittenShort(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.05: "0.05", 250: "250", 4999: "4999", 20_000: "20k", 1_500_000: "1.5M", -3: "-3"} {
		if got := label(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}
