package connector

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"
	"github.com/opencti-connectors/threatmatch/pipeline"
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
				p.reached(c.share(s.Seconds()), int(s.Seconds()), start.Add(s))
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

// At the rate limit the calls of all datasets count together: while there are items to fetch the indicators get a part of the rate, and
// then all of it.
func TestTheTimeLeftAtTheRateLimitIsThatOfAllCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &story{rate: 2, datasets: []*chapter{{dataset: "alerts"}, {dataset: "iocs"}}}
		if left, known := s.left(status.Limit{Says: rateLimit}); known {
			t.Errorf("before the first page %s are left", left)
		}
		for second := range 60 {
			s.Page("alerts", 1, pipeline.Position{Left: 99 - second, Share: float64(second+1) / 100})
			if second%10 == 0 { // one page in ten seconds, of a hundred
				share := float64(second/10+1) / 100
				s.Page("iocs", 100, pipeline.Position{Until: time.Now(), Share: share})
			}
			time.Sleep(time.Second)
		}
		left, known := s.left(status.Limit{Says: rateLimit})
		if want := (40 + 94) / 2 * time.Second; !known || (left-want).Abs() > 2*time.Second {
			t.Errorf("%s are left (known: %t), want %s", left, known, want)
		}
		left, known = s.left(status.Limit{Says: "RabbitMQ's confirms"})
		if want := 60 * 94 / 5 * time.Second; !known || (left-want).Abs() > time.Second { // for the indicators, which are slower
			t.Errorf("where something else holds the run up %s are left (known: %t), want %s", left, known, want)
		}
		s.Done("iocs", nil)
		if left, _ := s.left(status.Limit{Says: rateLimit}); left != 20*time.Second {
			t.Errorf("for forty items %s are left", left)
		}
	})
}
