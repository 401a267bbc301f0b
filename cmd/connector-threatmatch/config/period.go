package config

import (
	"fmt"
	"math"
	"regexp"
	"time"

	"github.com/sosodev/duration"
)

// Period is a length of time on the calendar: a month is a month, whatever its days. The zero Period is no time at all.
type Period struct {
	Months int
	Days   int
	Clock  time.Duration
	text   string
}

// maxYears bounds periods: beyond it lies no intelligence, only overflow.
const maxYears = 100

// iso8601 is the shape that the library leaves unchecked: order, repetition, something after P and after T.
var iso8601 = regexp.MustCompile(`^P(\d+(\.\d+)?Y)?(\d+(\.\d+)?M)?(\d+(\.\d+)?W)?(\d+(\.\d+)?D)?(T(\d+(\.\d+)?H)?(\d+(\.\d+)?M)?(\d+(\.\d+)?S)?)?$`)

// unfitPeriod says why an ISO 8601 duration is no [Period].
type unfitPeriod string

func (u unfitPeriod) Error() string { return "parse duration: it " + string(u) }

// parsePeriod reads an ISO 8601 duration of at most a hundred years. Years and months must be whole.
func parsePeriod(s string) (Period, error) {
	last := s[max(len(s)-1, 0):]
	if !iso8601.MatchString(s) || last == "P" || last == "T" {
		return Period{}, fmt.Errorf("parse duration: not an ISO 8601 duration like P30D")
	}
	d, err := duration.Parse(s)
	if err != nil {
		return Period{}, fmt.Errorf("parse duration: %w", err)
	}
	months := d.Years*12 + d.Months
	days := d.Weeks*7 + d.Days
	wholeDays, restOfDay := math.Modf(days)
	seconds := restOfDay*24*3600 + d.Hours*3600 + d.Minutes*60 + d.Seconds
	if math.Trunc(d.Years) != d.Years || math.Trunc(d.Months) != d.Months {
		return Period{}, unfitPeriod("has a fraction of a year or month, whose length is not fixed")
	}
	if years := months/12 + days/365 + seconds/(365*24*3600); math.IsNaN(years) || years > maxYears {
		return Period{}, unfitPeriod(fmt.Sprintf("is longer than %d years", maxYears))
	}
	return Period{
		Months: int(months),
		Days:   int(wholeDays),
		Clock:  time.Duration(math.Round(seconds * float64(time.Second))),
		text:   s,
	}, nil
}

// IsZero tells whether the period is no time at all.
func (p Period) IsZero() bool { return p.Months == 0 && p.Days == 0 && p.Clock == 0 }

// Longest is the longest time that the period can last, for where no calendar day is meant.
func (p Period) Longest() time.Duration {
	const day = 24 * time.Hour
	return time.Duration(p.Months)*31*day + time.Duration(p.Days)*day + p.Clock
}

// After returns the moment that lies a period after t.
func (p Period) After(t time.Time) time.Time {
	return addMonths(t, p.Months).AddDate(0, 0, p.Days).Add(p.Clock)
}

// Before returns the moment that lies a period before t.
func (p Period) Before(t time.Time) time.Time {
	return addMonths(t, -p.Months).AddDate(0, 0, -p.Days).Add(-p.Clock)
}

// addMonths stays within the month it arrives in: a month before 31 March is the last of February, where
// [time.Time.AddDate] alone would give 3 March and so cut days off a window.
func addMonths(t time.Time, months int) time.Time {
	moved := t.AddDate(0, months, 0)
	if moved.Day() != t.Day() {
		moved = moved.AddDate(0, 0, -moved.Day())
	}
	return moved
}

// String returns the period as it was written.
func (p Period) String() string {
	if p.text == "" {
		return "PT0S"
	}
	return p.text
}

// MarshalText returns the period as it was written.
func (p Period) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Start is where the first import begins: a moment, or a period before the run.
type Start struct {
	At       time.Time // zero when Relative counts
	Relative Period
}

// From returns the moment, in UTC, at which an import that runs now begins.
func (s Start) From(now time.Time) time.Time {
	if !s.At.IsZero() {
		return s.At
	}
	return s.Relative.Before(now.UTC())
}

// String returns the start as an ISO 8601 duration or time.
func (s Start) String() string {
	if !s.At.IsZero() {
		return s.At.Format(time.RFC3339)
	}
	return s.Relative.String()
}

// MarshalText returns the start as an ISO 8601 duration or time.
func (s Start) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
