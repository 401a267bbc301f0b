package pipeline

import "time"

// ParseTime reads a timestamp of a STIX object. ThreatMatch writes RFC 3339 in UTC, as STIX wants it; what passes through it
// from elsewhere can have a blank for the T, and no zone, which then means UTC. It returns the zero time and false for
// what cannot be read, and for what lies outside the years 1 to 9999: a timestamp has four digits for them.
func ParseTime[T string | []byte](text T) (time.Time, bool) {
	const longest = 64 // bytes: with nanoseconds and an offset it is 35
	if len(text) > longest {
		return time.Time{}, false
	}
	for _, layout := range [...]string{
		time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999",
	} {
		at, err := time.Parse(layout, string(text))
		if at = at.UTC(); err == nil && at.Year() >= 1 && at.Year() <= 9999 {
			return at, true
		}
	}
	return time.Time{}, false
}
