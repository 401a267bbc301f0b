package connector

import (
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
)

// LimitMemory has the collector work harder rather than let the program grow beyond what the intelligence on its way needs, or beyond
// the limit of its container. GOGC and GOMEMLIMIT have the last word. It holds for the process from then on.
func LimitMemory(cfg config.Config) {
	const (
		// growth in percent is by how much a run may outgrow what it holds before the collector looks: with 100 the peak of a middling
		// run is 10 MiB higher, and it takes no less CPU. A limit close to what is held would have the collector run without end.
		growth = 60
		least  = 88 << 20 // what twenty thousand objects that wait for others leave room in
		tenths = 9        // of the container's limit: the rest is for what Go does not count
	)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(growth)
	}
	if os.Getenv("GOMEMLIMIT") != "" {
		return // Go has read it
	}
	payload := uint64(cfg.Connector.Memory) << 20
	limit := max(least, payload/8*11) // with more of the default, items of 20 MB take more than 150 MiB
	if container, err := memlimit.FromCgroup(); err == nil {
		limit = min(limit, container/10*tenths)
	}
	debug.SetMemoryLimit(int64(limit))
}
