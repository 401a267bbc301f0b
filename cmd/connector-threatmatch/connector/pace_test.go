package connector

import (
	"testing"
	"time"
)

func TestTheTimeLeftGoesByThePaceOfLate(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		share func(s float64) float64 // that is gone after so many seconds
		after time.Duration
		want  time.Duration // -1 for unknown
	}{
		"even":                         {func(s float64) float64 { return s / 1000 }, 500 * time.Second, 500 * time.Second},
		"resumed at a half":            {func(s float64) float64 { return 0.5 + s/2000 }, 100 * time.Second, 900 * time.Second},
		"slow for an hour, fast since": {func(s float64) float64 { return min(s, 3600)/36000 + max(0, s-3600)/1000 }, 3960 * time.Second, 540 * time.Second},
		"fast over empty years":        {func(s float64) float64 { return min(s/20, 0.5) + max(0, s-10)/10000 }, 1010 * time.Second, 4000 * time.Second},
		"nothing yet":                  {func(float64) float64 { return 0 }, time.Minute, -1},
	} {
		t.Run(name, func(t *testing.T) {
			var p pace
			for s := time.Duration(0); s <= c.after; s += time.Second {
				p.reached(c.share(s.Seconds()), start.Add(s))
			}
			left, known := p.left(c.share(c.after.Seconds()), start.Add(c.after))
			if !known {
				left = -1
			}
			if (left - c.want).Abs() > c.want.Abs()/100 {
				t.Errorf("%s left, want %s", left, c.want)
			}
			if len(p.marks) > 32 {
				t.Errorf("%d marks", len(p.marks))
			}
		})
	}
}
