// Package words writes numbers and durations as people say them.
package words

import (
	"fmt"
	"strings"
	"time"
)

// Counted writes a number with its noun, which gets an s for all but one.
func Counted[N int | int64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return Grouped(n) + " " + noun + "s"
}

// Grouped writes a number with commas between its thousands.
func Grouped[N int | int64](n N) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// Bytes writes a number of bytes as people say it.
func Bytes(n int64) string {
	units, value := []string{"B", "kB", "MB", "GB", "TB"}, float64(n)
	for len(units) > 1 && value >= 999.95 { // what would be written as 1000.0
		units, value = units[1:], value/1000
	}
	if units[0] == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", value, units[0])
}

// Duration writes a duration as people say it: in its two largest units.
func Duration(d time.Duration) string {
	if d >= time.Second {
		d = d.Round(time.Second)
	}
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	}
	var parts []string
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if n := d / unit.of; n > 0 || len(parts) > 0 {
			parts = append(parts, fmt.Sprintf("%d%s", n, unit.name))
			d -= n * unit.of
		}
	}
	return strings.Join(parts[:min(2, len(parts))], "")
}
