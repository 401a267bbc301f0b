package pipeline

import (
	"strings"
	"testing"
	"time"
)

func TestTimestampsAreReadAsTheyArrive(t *testing.T) {
	at := func(nanos int) time.Time { return time.Date(2025, 4, 17, 15, 24, 0, nanos, time.UTC) }
	for text, want := range map[string]time.Time{
		"2025-04-17T15:24:00Z":                at(0),
		"2025-04-17T15:24:00.000Z":            at(0),
		"2025-04-17T15:24:00.123Z":            at(123e6),
		"2025-04-17T15:24:00.123456Z":         at(123456e3),
		"2025-04-17T15:24:00.123456789Z":      at(123456789),
		"2025-04-17T17:24:00.5+02:00":         at(5e8),
		"2025-04-17T15:24:00":                 at(0),
		"2025-04-17T15:24:00.123456":          at(123456e3),
		"2025-04-17 15:24:00":                 at(0),
		"2025-04-17 15:24:00.5":               at(5e8),
		"2025-04-17 15:24:00Z":                at(0),
		"2025-04-17 10:24:00.123-05:00":       at(123e6),
		"0001-01-01T00:00:00Z":                {},
		"9999-12-31T23:59:59Z":                time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		"2025-04-17T15:24:00.1234567899Z":     at(123456789),
		"2025-04-17T15:24:00." + digits + "Z": at(111111111),
	} {
		if got, ok := ParseTime(text); !ok || !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("%s: %s, %t", text, got, ok)
		}
		if got, ok := ParseTime([]byte(text)); !ok || !got.Equal(want) {
			t.Errorf("%s as bytes: %s, %t", text, got, ok)
		}
	}
	for _, text := range []string{
		"", "null", "1744903440", "2025-04-17", "2025-04-17T15:24Z", "17.04.2025 15:24:00", "2025-02-29T00:00:00Z", "2025-04-17T15:24:00Z ",
		"0000-12-31T23:59:59Z", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "10000-01-01T00:00:00Z",
		"2025-04-17T15:24:00." + digits + digits + "Z", strings.Repeat("2", 1<<20),
	} {
		if got, ok := ParseTime(text); ok {
			t.Errorf("%.40q is read as %s", text, got)
		}
	}
}

const digits = "1111111111111111111111111111111111111111"

func TestTheUsualTimestampCostsNoMemory(t *testing.T) {
	text := []byte("2025-04-17T15:24:00.123Z")
	if n := testing.AllocsPerRun(100, func() { ParseTime(text) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{
		"2025-04-17T15:24:00.123Z", "2025-04-17 15:24:00", "2025-04-17 15:24:00.5+02:00", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at, ok := ParseTime(text)
		if other, same := ParseTime([]byte(text)); same != ok || !other.Equal(at) {
			t.Fatalf("%q as bytes: %s, %t", text, other, same)
		}
		if !ok {
			return
		}
		if back, ok := ParseTime(at.Format(time.RFC3339Nano)); !ok || !back.Equal(at) {
			t.Fatalf("%q is written as %s and read as %s, %t", text, at.Format(time.RFC3339Nano), back, ok)
		}
	})
}
