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

// EarlierStart warns where THREATMATCH_IMPORT_FROM_DATE changes nothing, because it lies before where the import has begun; "" where it does
// not. imported is where it began, zero before the first run.
func (t ThreatMatch) EarlierStart(imported, now time.Time) Warning {
	wanted := t.ImportFrom.From(now)
	if imported.IsZero() || !wanted.Before(imported) {
		return ""
	}
	const layout = time.RFC3339
	return Warning(fmt.Sprintf("THREATMATCH_IMPORT_FROM_DATE lies before %s, where the import began, and lowering it imports nothing; unless a backfill has brought what is older, `backfill --from %s` does",
		imported.UTC().Format(layout), wanted.UTC().Format(layout)))
}
