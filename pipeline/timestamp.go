package pipeline

import "time"

// ParseTime reads a timestamp of a STIX object. It is the one reading of them: who pages by a date, who orders by it and
// who compares it must understand the same. STIX wants RFC 3339 in UTC. What passes through ThreatMatch from elsewhere is
// written in other ways, which are read too:
//
//	2025-04-17T15:24:00.123Z       RFC 3339, letters of either case, with any number of digits: those beyond nine are cut
//	2025-04-17T15:24:00,123        a comma before them; no zone, which means UTC
//	2025-04-17 15:24:00 UTC        a blank in place of the T and before the zone; UTC and GMT by their names
//	2025-04-17T17:24:00+0200       an offset without its colon, or its minutes
//	2025-04-17T15:24Z              no seconds
//	2025-04-17                     no time, which means the day's begin
//	2016-12-31T23:59:60Z           a leap second: the next one
//	2025-04-17T24:00:00            the end of a day: the begin of the next
//
// Blanks around it do not count. It returns the zero time and false for anything else, for days that no month has, and for
// what lies outside the years 1 to 9999 in UTC: a timestamp has four digits for them.
func ParseTime[T string | []byte](text T) (time.Time, bool) {
	s := stamp[T]{rest: text, ok: true}
	s.trim()
	year := s.digits(4)
	s.take('-')
	month := s.digits(2)
	s.take('-')
	day := s.digits(2)
	var hour, minute, second, nanos, offset int
	if len(s.rest) > 0 {
		hour, minute, second, nanos = s.clock()
		offset = s.zone()
	}
	if !s.ok || len(s.rest) > 0 || year < 1 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) ||
		!ofADay(hour, minute, second, nanos, offset) {
		return time.Time{}, false
	}
	at := time.Date(year, time.Month(month), day, hour, minute, second-offset, nanos, time.UTC)
	if at.Year() < 1 || at.Year() > 9999 {
		return time.Time{}, false
	}
	return at, true
}

// stamp is what is left to read of a timestamp; ok is false once it turned out to be none.
type stamp[T string | []byte] struct {
	rest T
	ok   bool
}

func (s *stamp[T]) trim() {
	for len(s.rest) > 0 && isBlank(s.rest[0]) {
		s.rest = s.rest[1:]
	}
	for len(s.rest) > 0 && isBlank(s.rest[len(s.rest)-1]) {
		s.rest = s.rest[:len(s.rest)-1]
	}
}

func isBlank(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// begins tells whether one of the characters comes next.
func (s *stamp[T]) begins(a, b byte) bool {
	return len(s.rest) > 0 && (s.rest[0] == a || s.rest[0] == b)
}

// take reads a character that has to come.
func (s *stamp[T]) take(c byte) {
	if s.ok = s.ok && s.begins(c, c); s.ok {
		s.rest = s.rest[1:]
	}
}

// digits reads a number of exactly n digits.
func (s *stamp[T]) digits(n int) (number int) {
	if s.ok = s.ok && len(s.rest) >= n; !s.ok {
		return 0
	}
	for i := range n {
		c := s.rest[i]
		s.ok = s.ok && isDigit(c)
		number = 10*number + int(c-'0')
	}
	s.rest = s.rest[n:]
	return number
}

// clock reads the time behind a date, with what comes before it.
func (s *stamp[T]) clock() (hour, minute, second, nanos int) {
	if s.begins('T', 't') {
		s.rest = s.rest[1:]
	} else {
		s.take(' ')
	}
	hour = s.digits(2)
	s.take(':')
	minute = s.digits(2)
	if s.begins(':', ':') {
		s.take(':')
		second = s.digits(2)
		nanos = s.fraction()
	}
	return hour, minute, second, nanos
}

// fraction reads the digits behind a second, where there are any.
func (s *stamp[T]) fraction() (nanos int) {
	if !s.begins('.', ',') {
		return 0
	}
	n := 1
	for unit := 100_000_000; n < len(s.rest) && isDigit(s.rest[n]); n++ {
		nanos += unit * int(s.rest[n]-'0')
		unit /= 10 // 0 from the tenth digit on
	}
	s.ok = s.ok && n > 1
	s.rest = s.rest[n:]
	return nanos
}

// zone reads how many seconds the clock is ahead of UTC; no zone is UTC.
func (s *stamp[T]) zone() (offset int) {
	if len(s.rest) == 0 {
		return 0
	}
	if s.begins(' ', ' ') {
		s.rest = s.rest[1:]
	}
	switch {
	case s.begins('Z', 'z'):
		s.rest = s.rest[1:]
		return 0
	case string(s.rest) == "UTC" || string(s.rest) == "GMT":
		s.rest = s.rest[3:]
		return 0
	case !s.begins('+', '-'):
		s.ok = false
		return 0
	}
	sign := 1
	if s.rest[0] == '-' {
		sign = -1
	}
	s.rest = s.rest[1:]
	hours, minutes := s.digits(2), 0
	if s.begins(':', ':') {
		s.take(':')
		minutes = s.digits(2)
	} else if len(s.rest) > 0 {
		minutes = s.digits(2)
	}
	s.ok = s.ok && hours <= 23 && minutes <= 59
	return sign * (hours*3600 + minutes*60)
}

// ofADay tells whether a clock shows that time: 24:00 at a day's end, and 23:59:60, here or in UTC, for a leap second.
func ofADay(hour, minute, second, nanos, offset int) bool {
	switch {
	case hour == 24:
		return minute == 0 && second == 0 && nanos == 0
	case hour > 24 || minute > 59 || second > 60:
		return false
	case second == 60:
		const day, last = 24 * 60, 23*60 + 59 // in minutes
		here := hour*60 + minute
		return here == last || (here-offset/60+day)%day == last
	}
	return true
}

func daysIn(year, month int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// IsFarAhead says that a date lies so far in the future that it is not believed: clocks differ, and some write local time as UTC,
// but not by more than a day.
func IsFarAhead(date, now time.Time) bool { return date.After(now.Add(24 * time.Hour)) }
