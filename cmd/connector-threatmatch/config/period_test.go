package config

import (
	"testing"
	"time"
)

func TestAPeriodFollowsTheCalendar(t *testing.T) {
	for _, tt := range []struct{ period, from, before, after string }{
		{"P1M", "2026-03-31T10:00:00Z", "2026-02-28T10:00:00Z", "2026-04-30T10:00:00Z"},
		{"P1Y", "2024-02-29T00:00:00Z", "2023-02-28T00:00:00Z", "2025-02-28T00:00:00Z"},
		{"P30D", "2026-03-31T10:00:00Z", "2026-03-01T10:00:00Z", "2026-04-30T10:00:00Z"},
		{"P2W", "2026-03-15T00:00:00Z", "2026-03-01T00:00:00Z", "2026-03-29T00:00:00Z"},
		{"P1DT12H", "2026-03-15T00:00:00Z", "2026-03-13T12:00:00Z", "2026-03-16T12:00:00Z"},
		{"P1.5D", "2026-03-15T00:00:00Z", "2026-03-13T12:00:00Z", "2026-03-16T12:00:00Z"},
		{"P1Y2M3DT4H5M6.5S", "2026-03-15T00:00:00Z", "2025-01-11T19:54:53.5Z", "2027-05-18T04:05:06.5Z"},
		{"P100Y", "2026-03-15T00:00:00Z", "1926-03-15T00:00:00Z", "2126-03-15T00:00:00Z"},
	} {
		p, err := parsePeriod(tt.period)
		if err != nil {
			t.Errorf("%s: %v", tt.period, err)
			continue
		}
		from, _ := time.Parse(time.RFC3339, tt.from)
		if got := p.Before(from).Format(time.RFC3339Nano); got != tt.before {
			t.Errorf("%s before %s is %s, want %s", tt.period, tt.from, got, tt.before)
		}
		if got := p.After(from).Format(time.RFC3339Nano); got != tt.after {
			t.Errorf("%s after %s is %s, want %s", tt.period, tt.from, got, tt.after)
		}
		if p.String() != tt.period {
			t.Errorf("%s became %s", tt.period, p)
		}
	}
}

func FuzzPeriod(f *testing.F) {
	for _, seed := range []string{"P1D", "P", "PT", "PT1.5S", "P1Y2M3W4DT5H6M7S", "P99999999Y", "-P1D", "P1.", "P0D", ""} {
		f.Add(seed)
	}
	now := time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePeriod(s)
		if err != nil {
			return
		}
		before, after := p.Before(now), p.After(now)
		if p.IsZero() != before.Equal(now) || before.After(now) || after.Before(now) {
			t.Errorf("%q: before %v, after %v", s, before, after)
		}
		if before.Year() < 1920 || after.Year() > 2130 {
			t.Errorf("%q leads to %v and %v", s, before, after)
		}
	})
}
