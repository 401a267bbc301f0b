package status

import "time"

const (
	// HeartbeatEvery is the time between two pings; OpenCTI takes a connector for dead after some of them.
	HeartbeatEvery = 40 * time.Second
	// heartbeatLimit is how long the heartbeat may do nothing: it goes round within HeartbeatEvery, and no request about the
	// state takes longer than a minute.
	heartbeatLimit = 3 * HeartbeatEvery
	// stallLimit is how long a run may do nothing at all. Every wait that the connector knows (for the platform, the
	// broker, the API, the queue) repeats something within two minutes, so that this much silence is none of them.
	stallLimit = 15 * time.Minute
)

// stallLimitAt is the limit where the API may be asked so many times a second, 0 standing for any number.
func stallLimitAt(ratePerSecond float64) time.Duration {
	if ratePerSecond <= 0 {
		return stallLimit
	}
	const year = 365 * 24 * 3600
	return stallLimit + time.Duration(min(1/ratePerSecond, year)*float64(time.Second)) // what may pass between two requests
}
