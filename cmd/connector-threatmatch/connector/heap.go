package connector

import (
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
)

// LimitMemory has the collector work harder rather than let the program grow beyond what the intelligence on its way needs, or beyond
// the limit of its container. GOMEMLIMIT has the last word. It holds for the process from then on.
func LimitMemory(cfg config.Config) {
	const (
		least  = 32 << 20 // twice what the program takes when it does nothing
		tenths = 9        // of the container's limit: the rest is for what Go does not count
	)
	if os.Getenv("GOMEMLIMIT") != "" {
		return // Go has read it
	}
	payload := uint64(cfg.Connector.Memory) << 20
	limit := max(least, payload/16*17) // a sixteenth is what else the program holds; with an eighth it takes 4 MiB more and no less CPU
	if container, err := memlimit.FromCgroup(); err == nil {
		limit = min(limit, container/10*tenths)
	}
	debug.SetMemoryLimit(int64(limit))
}
