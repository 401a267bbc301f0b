package connector

import (
	"math"
	"runtime/debug"
	"testing"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
)

// What the environment says of the collector Go has read, and nothing else is set.
func TestTheEnvironmentHasTheLastWordOfMemory(t *testing.T) {
	const untouched = math.MaxInt64
	for _, tt := range []struct {
		gogc, limit string
		memory      int
		wantGOGC    int
		wantLimit   int64 // at most, for the container may have less
	}{
		{"", "", 64, 60, 88 << 20},
		{"", "", 16, 60, 88 << 20},
		{"", "", 256, 60, 352 << 20},
		{"80", "", 64, 100, 88 << 20},
		{"", "200MiB", 64, 60, untouched},
	} {
		percent, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(untouched)
		t.Setenv("GOGC", tt.gogc)
		t.Setenv("GOMEMLIMIT", tt.limit)
		var cfg config.Config
		cfg.Connector.Memory = tt.memory
		LimitMemory(cfg)
		if got, most := debug.SetGCPercent(percent), debug.SetMemoryLimit(limit); got != tt.wantGOGC || most > tt.wantLimit || tt.limit != "" && most != untouched {
			t.Errorf("GOGC=%s GOMEMLIMIT=%s, %d MiB: it is %d %% and %d bytes", tt.gogc, tt.limit, tt.memory, got, most)
		}
	}
}
