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
