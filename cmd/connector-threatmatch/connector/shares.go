package connector

import "github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"

// shares divides CONNECTOR_MEMORY, in bytes: what is fetched and not handed on, what is on its way from there to the confirm,
// and what waits for other objects with its text in memory. Each has a bound of its own, so that none has to wait for room
// which only those behind it could free.
type shares struct{ fetched, underWay, parked int64 }

func sharesOf(cfg config.Config) shares {
	quarter := int64(cfg.Connector.Memory) << 20 / 4
	return shares{fetched: quarter, underWay: 2 * quarter, parked: quarter}
}
