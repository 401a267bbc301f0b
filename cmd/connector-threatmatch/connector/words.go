package connector

import (
	"fmt"
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/progress"
)

// counted writes a number with its noun, which gets an s for all but one.
func counted(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return grouped(n) + " " + noun + "s"
}

// grouped writes a number with commas between its thousands.
func grouped(n int64) string { return progress.GroupDigits(int(n)) }

// inWords writes a duration as people say it: in its two largest units.
func inWords(d time.Duration) string {
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
