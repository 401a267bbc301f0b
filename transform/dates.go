package transform

import (
	"bytes"
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
	if isString(m.value) && isRFC3339(text) {
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

func isRFC3339(text []byte) bool {
	if isPlainDate(text) {
		return true
	}
	_, err := time.Parse(time.RFC3339, string(text))
	return err == nil
}

// isPlainDate says of almost all dates that they are of the form 2006-01-02T15:04:05Z, perhaps with parts of a second.
func isPlainDate(text []byte) bool {
	const form = "0000-00-00T00:00:00"
	if len(text) <= len(form) || text[len(text)-1] != 'Z' {
		return false
	}
	for i := range len(form) {
		if c := text[i]; form[i] == '0' && !isDigit(c) || form[i] != '0' && c != form[i] {
			return false
		}
	}
	two := func(at int) int { return int(text[at]-'0')*10 + int(text[at+1]-'0') }
	if month, day := two(5), two(8); month < 1 || month > 12 || day < 1 || day > 28 || two(11) > 23 || two(14) > 59 || two(17) > 59 {
		return false // or one of the last days of a month, which not every month has
	}
	fraction := text[len(form) : len(text)-1]
	return len(fraction) == 0 || len(fraction) > 1 && fraction[0] == '.' && digits(fraction[1:])
}

// plainMoment returns what [time.RFC3339Nano] has before its Z, of a text that is a date of the plain form.
func plainMoment(value []byte) (moment []byte, ok bool) {
	const year, longest = "2000", "2006-01-02T15:04:05.000000000Z"
	if !isString(value) {
		return nil, false
	}
	text := value[1 : len(value)-1]
	if len(text) > len(longest) || !isPlainDate(text) || string(text[:len(year)]) < year {
		return nil, false
	}
	text = text[:len(text)-1]
	if bytes.IndexByte(text, '.') >= 0 {
		text = bytes.TrimRight(bytes.TrimRight(text, "0"), ".")
	}
	return text, true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
