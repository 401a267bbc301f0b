package config

import (
	"fmt"
	"strconv"
	"time"
)

// ParseStart reads a moment as THREATMATCH_IMPORT_FROM_DATE takes it: a duration before now, a date or a time that is not after
// now. The error says what is allowed.
func ParseStart(text string, now time.Time) (Start, error) {
	kind := importStart(now)
	start, ok := kind.parse(text)
	if !ok {
		return Start{}, fmt.Errorf("%s %s", strconv.Quote(text), kind.advice(text))
	}
	return start, nil
}

// EarlierStart warns where THREATMATCH_IMPORT_FROM_DATE changes nothing, because it lies before the earliest moment that was imported
// from, which is zero before the first run; "" where it does not. A day or three are no lowering: months differ in length.
func (t ThreatMatch) EarlierStart(imported, now time.Time) Warning {
	const noLowering = 3 * 24 * time.Hour
	wanted := t.ImportFrom.From(now)
	if imported.IsZero() || !wanted.Before(imported.Add(-noLowering)) {
		return ""
	}
	return Warning(fmt.Sprintf("THREATMATCH_IMPORT_FROM_DATE lies before %s, the earliest moment that was imported from, and lowering it imports nothing; `backfill --from %s` brings what is older",
		imported.UTC().Format(time.RFC3339), wanted.UTC().Format(time.RFC3339)))
}
