package transform

import (
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// isDate says that OpenCTI reads a member as a date. Its GraphQL takes dates in the form of RFC 3339 and nothing else, and its
// worker loses the whole object over another one.
func isDate(name []byte) bool {
	switch string(name) {
	case "created", "modified", "published", "first_seen", "last_seen", "valid_from", "valid_until", "start_time", "stop_time",
		"first_observed", "last_observed", "submitted", "analysis_started", "analysis_ended":
		return true
	}
	return false
}

// date keeps a date as it came when OpenCTI can read it, and else writes the same moment as it can. What is no date is left
// out and counted.
func (b *builder) date(m member) {
	text := unquote(m.value)
	if _, err := time.Parse(time.RFC3339, string(text)); err == nil && isString(m.value) {
		b.open(m)
		b.s.out = append(b.s.out, m.value...)
		return
	}
	at, ok := pipeline.ParseTime(text)
	if !ok || !isString(m.value) {
		b.s.mended = true
		return
	}
	layout := "2006-01-02T15:04:05.000Z"
	if at.Nanosecond()%1e6 != 0 {
		layout = "2006-01-02T15:04:05.000000Z"
	}
	b.open(m)
	b.s.out = appendQuoted(b.s.out, at.UTC().Format(layout))
}
