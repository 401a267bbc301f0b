package config

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// isoPeriod reads a length of time on the calendar. zero says what no time at all means, "" that it means nothing.
func isoPeriod(zero string) kind[Period] {
	says := "an ISO 8601 duration of at most 100 years, like P30D, P1M or PT12H"
	if zero != "" {
		says += " (0: " + zero + ")"
	}
	parse := func(s string) (Period, bool) {
		if s == "0" {
			s = "PT0S"
		}
		p, err := parsePeriod(s)
		return p, err == nil && (zero != "" || !p.IsZero())
	}
	return kind[Period]{
		parse: parse,
		says:  says,
		typ:   schemaType{Type: "string", Format: "duration"},
		fault: func(s string) string { return periodFault(s, parse) },
	}
}

// periodFault says what is wrong with what is nearly a period, and advises only what parse takes.
func periodFault(s string, parse func(string) (Period, bool)) string {
	_, err := parsePeriod(s)
	if unfit, ok := errors.AsType[unfitPeriod](err); ok {
		return string(unfit)
	}
	seconds := "PT" + s + "S"
	if _, ok := parse(seconds); ok && strings.Trim(s, "0123456789") == "" {
		return "lacks a unit; " + s + " seconds are " + seconds
	}
	positive, negative := strings.CutPrefix(s, "-")
	if _, ok := parse(positive); ok && negative {
		return "must not be negative; write " + positive
	}
	return ""
}

// earliestYear of a start: the API and the state speak of years with four digits, and nothing is older than the clocks of computers.
const earliestYear = 1970

// importStart reads a duration, a date or a time that is not after now.
func importStart(now time.Time) kind[Start] {
	relative := isoPeriod("")
	return kind[Start]{
		parse: func(s string) (Start, bool) {
			if p, ok := relative.parse(s); ok {
				return Start{Relative: p}, true
			}
			at, ok := parseMoment(s)
			return Start{At: at.UTC()}, ok && !at.After(now) && at.Year() >= earliestYear
		},
		says: "an ISO 8601 duration of at most 100 years like P30D, a date like 2024-03-05 or a time like 2024-03-05T06:07:08Z (UTC where it names no zone), and not in the future",
		typ:  schemaType{Type: "string"},
		fault: func(s string) string {
			switch at, ok := parseMoment(s); {
			case ok && at.After(now):
				return "lies in the future"
			case ok:
				return fmt.Sprintf("lies before the year %d", earliestYear)
			}
			return relative.fault(s)
		},
	}
}

// parseMoment reads a date or a time, which is of UTC where it names no zone. Seconds may be missing and a blank may stand for the T:
// the Python connector and its samples write it like that.
func parseMoment(s string) (at time.Time, ok bool) {
	if day, clock, found := strings.Cut(s, " "); found {
		s = day + "T" + clock
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02T15:04Z07:00"} {
		if at, err := time.Parse(layout, s); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}
