package pipeline

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestTimestampsAreReadAsTheyArrive(t *testing.T) {
	at := func(nanos int) time.Time { return time.Date(2025, 4, 17, 15, 24, 0, nanos, time.UTC) }
	day := time.Date(2025, 4, 17, 0, 0, 0, 0, time.UTC)
	year := time.Date(2017, 1, 1, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"2025-04-17T15:24:00Z":           at(0),
		"2025-04-17T15:24:00.000Z":       at(0),
		"2025-04-17T15:24:00.123Z":       at(123e6),
		"2025-04-17T15:24:00.123456Z":    at(123456e3),
		"2025-04-17T15:24:00.123456789Z": at(123456789),
		"2025-04-17t15:24:00.1z":         at(1e8),
		"2025-04-17T17:24:00.5+02:00":    at(5e8),
		"2025-04-17T15:24:00-00:00":      at(0),
		// no zone
		"2025-04-17T15:24:00":        at(0),
		"2025-04-17T15:24:00.123456": at(123456e3),
		"2025-04-17T15:24:00,5":      at(5e8),
		// with a blank
		"2025-04-17 15:24:00":              at(0),
		"2025-04-17 15:24:00.5":            at(5e8),
		"2025-04-17 15:24:00Z":             at(0),
		"2025-04-17 10:24:00.123-05:00":    at(123e6),
		"2025-04-17 15:24:00 UTC":          at(0),
		"2025-04-17 15:24:00.123456 GMT":   at(123456e3),
		"2025-04-17 20:54:00 +0530":        at(0),
		"2025-04-17T15:24:00.0000000 Z":    at(0),
		"\t2025-04-17T15:24:00Z \r\n":      at(0),
		" 2025-04-17 15:24:00.000000 UTC ": at(0),
		// other offsets
		"2025-04-17T17:24:00+0200":     at(0),
		"2025-04-17T17:24:00.123+02":   at(123e6),
		"2025-04-16T16:25:00.5-22:59":  at(5e8),
		"2025-04-17T21:09:00.50+05:45": at(5e8),
		// less than a time
		"2025-04-17T15:24Z":      at(0),
		"2025-04-17 15:24":       at(0),
		"2025-04-17T17:24+02:00": at(0),
		"2025-04-17":             day,
		" 2025-04-17\n":          day,
		// the ends of days
		"2025-04-16T24:00":              day,
		"2025-04-16T24:00:00":           day,
		"2025-04-16 24:00:00.000":       day,
		"2025-04-17T02:00:00+02:00":     day,
		"2025-04-16T24:00:00-00:00":     day,
		"2025-04-16T24:00:00+01:00":     day.Add(-time.Hour),
		"2024-02-29T24:00:00Z":          time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC),
		"2016-12-31T23:59:60Z":          year,
		"2016-12-31T23:59:60.25":        year.Add(time.Second / 4),
		"2016-12-31 23:59:60":           year,
		"2016-12-31T18:59:60-05:00":     year,
		"2017-01-01T05:29:60+0530":      year,
		"2016-12-31T23:59:60+02:00":     year.Add(-2 * time.Hour),
		"2025-04-16T23:59:60.999999999": day.Add(time.Second - 1),
		// the ends of what has four digits
		"0001-01-01T00:00:00Z":      {},
		"0001-01-01":                {},
		"9999-12-31T23:59:59Z":      time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		"9999-12-31T24:00:00+01:00": time.Date(9999, 12, 31, 23, 0, 0, 0, time.UTC),
		// digits beyond nine
		"2025-04-17T15:24:00.1234567899Z":                           at(123456789),
		"2025-04-17T15:24:00." + strings.Repeat("1", 1000) + "Z":    at(111111111),
		"2025-04-17T15:24:00.000000000" + strings.Repeat("9", 1000): at(0),
	} {
		if got, ok := ParseTime(text); !ok || !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("%.50q: %s, %t", text, got, ok)
		}
		if got, ok := ParseTime([]byte(text)); !ok || !got.Equal(want) {
			t.Errorf("%.50q as bytes: %s, %t", text, got, ok)
		}
	}
}

func TestWhatIsNoTimestampIsNotReadAsOne(t *testing.T) {
	for _, text := range []string{
		"", " ", "null", "yesterday", "1744903440", "1744903440.5", "20250417", "20250417T152400Z",
		"Thu, 17 Apr 2025 15:24:00 GMT", "17.04.2025 15:24:00", "04/17/2025", "2025/04/17", "2025-04", "2025", "2025-4-17", "2025-W16-4", "2025-107",
		"2025-04-17T", "2025-04-17T15", "2025-04-17T15Z", "2025-04-17T15:2", "2025-04-17T15:24:", "2025-04-17T15:24:0", "2025-04-17T152400Z",
		"2025-04-17T15:24:00.Z", "2025-04-17T15:24:00.", "2025-04-17T15:24:00..5", "2025-04-17T15:24.5", "2025-04-17T15:24:00.5.5", "2025-04-17T15:24:00.+5",
		"2025-04-17  15:24:00", "2025-04-17_15:24:00", "2025-04-17T 15:24:00", "2025-04-17T15:24:00  Z", "2025-04-17T15:24:00ZZ", "2025-04-17T15:24:00Z+02:00",
		"2025-04-17Z", "2025-04-17+02:00", "2025-04-17 UTC", "2025-04-17T15:24:00 CET", "2025-04-17T15:24:00 utc1", "2025-04-17T15:24:00 ESTC",
		"2025-04-17T15:24:00+", "2025-04-17T15:24:00+2", "2025-04-17T15:24:00+2:00", "2025-04-17T15:24:00+02:", "2025-04-17T15:24:00+02:0", "2025-04-17T15:24:00+020",
		"2025-04-17T15:24:00+24:00", "2025-04-17T15:24:00+02:60", "2025-04-17T15:24:00+02:00:00", "2025-04-17T15:24:00+-2:00", "2025-04-17T15:24:00±00:00",
		"2025-02-29T00:00:00Z", "2023-02-29", "2025-04-31", "2025-00-17", "2025-13-17", "2025-04-00", "2025-04-32", "-025-04-17", "+2025-04-17", "２025-04-17",
		"2025-04-17T25:00:00", "2025-04-17T24:00:01", "2025-04-17T24:01", "2025-04-17T24:00:00.000000001", "2025-04-17T15:60:00", "2025-04-17T15:24:61",
		"2025-04-17T15:24:60Z", "2025-04-17T22:59:60Z", "2025-04-17T00:00:60", "2025-04-17T23:58:60+00:30",
		"0000-12-31T23:59:59Z", "0000-12-31T23:59:60Z", "0000-12-31T24:00:00Z", "0001-01-01T00:00:00+01:00",
		"9999-12-31T23:59:59-01:00", "9999-12-31T23:59:60Z", "9999-12-31T24:00:00Z", "10000-01-01T00:00:00Z",
		"2025-04-17T15:24:00Z\x00", "\u00a02025-04-17", strings.Repeat("2", 1<<20), strings.Repeat(" ", 1<<20),
	} {
		if got, ok := ParseTime(text); ok || !got.IsZero() {
			t.Errorf("%.40q is read as %s", text, got)
		}
	}
}

// TestEveryWayToWriteAMomentIsReadAsThatMoment writes a moment in all the ways that may be mixed.
func TestEveryWayToWriteAMomentIsReadAsThatMoment(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(-62135500000, 253402200000).Draw(t, "second"), 0).UTC()
		zone, offset := drawZone(t)
		local := at.Add(offset)
		clock := local.Format("15:04:05")
		day := local
		if local.Second() == 0 && rapid.Bool().Draw(t, "as the second before") {
			switch before := local.Add(-time.Second); {
			case clock == "00:00:00" && rapid.Bool().Draw(t, "24:00"):
				day, clock = before, "24:00:00"
			case clock == "00:00:00" || at.Format("15:04") == "00:00":
				day, clock = before, before.Format("15:04")+":60"
			}
		}
		if strings.HasSuffix(clock, ":00") && rapid.Bool().Draw(t, "no seconds") {
			clock = clock[:5]
		} else if clock != "24:00:00" {
			digits := rapid.StringMatching(`([.,][0-9]{1,40})?`).Draw(t, "digits")
			clock += digits
			if digits != "" {
				at = at.Add(time.Duration(parseInt((digits[1:] + "000000000")[:9])))
			}
		}
		text := day.Format("2006-01-02") + rapid.SampledFrom([]string{"T", "t", " "}).Draw(t, "between") + clock + zone
		blanks := rapid.StringMatching(`[ \t\r\n]{0,3}`)
		text = blanks.Draw(t, "before") + text + blanks.Draw(t, "behind")
		if got, ok := ParseTime(text); !ok || !got.Equal(at) {
			t.Fatalf("%q is %s, and read as %s, %t", text, at, got, ok)
		}
	})
}

// drawZone draws a way to write how far a clock is ahead of UTC.
func drawZone(t *rapid.T) (text string, offset time.Duration) {
	gap := rapid.SampledFrom([]string{"", " "}).Draw(t, "gap")
	if rapid.Bool().Draw(t, "UTC") {
		return rapid.SampledFrom([]string{"", gap + "Z", gap + "z", gap + "UTC", gap + "GMT"}).Draw(t, "name of UTC"), 0
	}
	hours, minutes := rapid.IntRange(0, 23).Draw(t, "hours"), rapid.SampledFrom([]int{0, 0, 30, 45, 59}).Draw(t, "minutes")
	offset = time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
	layouts := []string{"%02d:%02d", "%02d%02d"}
	text = fmt.Sprintf(rapid.SampledFrom(layouts).Draw(t, "layout"), hours, minutes)
	if minutes == 0 && rapid.Bool().Draw(t, "hours only") {
		text = text[:2]
	}
	if rapid.Bool().Draw(t, "behind UTC") {
		return gap + "-" + text, -offset
	}
	return gap + "+" + text, offset
}

func parseInt(digits string) (n int) {
	for _, c := range digits {
		n = 10*n + int(c-'0')
	}
	return n
}

func TestTheUsualTimestampCostsNoMemory(t *testing.T) {
	text := []byte("2025-04-17T15:24:00.123Z")
	if n := testing.AllocsPerRun(100, func() { ParseTime(text) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{
		"2025-04-17T15:24:00.123Z", "2025-04-17 15:24:00", "2025-04-17 15:24:00.5+02:00", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00", "",
		"2025-04-17", " 2025-04-17T24:00", "2016-12-31T23:59:60,1 +0000", "2025-04-17 15:24 UTC",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at, ok := ParseTime(text)
		if other, same := ParseTime([]byte(text)); same != ok || !other.Equal(at) {
			t.Fatalf("%q as bytes: %s, %t", text, other, same)
		}
		if usual, err := time.Parse(time.RFC3339Nano, text); err == nil && usual.UTC().Year() >= 1 && usual.UTC().Year() <= 9999 && (!ok || !usual.Equal(at)) && !lax(text) {
			t.Fatalf("%q is RFC 3339 and read as %s, %t", text, at, ok)
		}
		if !ok {
			return
		}
		if back, ok := ParseTime(at.Format(time.RFC3339Nano)); !ok || !back.Equal(at) {
			t.Fatalf("%q is written as %s and read as %s, %t", text, at.Format(time.RFC3339Nano), back, ok)
		}
	})
}

// lax tells what [time.Parse] takes for RFC 3339 although it is none: an hour of one digit, and offsets of a day and more.
func lax(text string) bool {
	return len(text) < len("2006-01-02T15:04:05Z") || text[12] == ':' || strings.ContainsAny(text[19:], "+-") && text[len(text)-5:] > "23:59" || strings.HasSuffix(text, ":60")
}
