package openctitest

import (
	"slices"
	"time"
)

// Registration is one call of registerConnector.
type Registration struct {
	ID                 string
	Name               string
	Type               string
	Scope              []string
	Auto               bool
	OnlyContextual     bool
	PlaybookCompatible bool
	Time               time.Time
}

// Ping is one call of pingConnector.
type Ping struct {
	// State is what the connector sent.
	State string
	Info  Info
	Time  time.Time
	// Marked says that the connector had been reset when the ping came: the ping is told of it and not stored.
	Marked bool
	// Stored is false for the ping that a reset answered. It is not known yet when OnPing is called.
	Stored bool
}

// Info is what a ping says besides the state. Sizes are in MB, times as they were written, empty for null.
type Info struct {
	RunAndTerminate   bool
	Buffering         bool
	QueueThreshold    float64
	QueueMessagesSize float64
	NextRun           string
	LastRun           string
}

type connector struct {
	id, name string
	kind     string // as it says, EXTERNAL_IMPORT for one
	scope    []string
	reset    bool      // the next ping is answered with the empty state
	heard    time.Time // of its last registration or ping
	updated  time.Time // when something of it was last written
	stored
	earlier []version // what was held before, oldest first
}

// stored is what a platform stores of a connector's state.
type stored struct {
	state     *string
	stateTime time.Time // of the creation or the last reset
}

// version is what was stored until a moment.
type version struct {
	stored
	until time.Time
}

// store puts something in place of what is stored, which is shown for some time on.
func (c *connector) store(s stored, lag time.Duration) {
	now := time.Now()
	c.earlier = append(c.earlier, version{c.stored, now})
	c.earlier = slices.DeleteFunc(c.earlier, func(v version) bool { return !v.until.After(now.Add(-lag)) })
	c.stored, c.updated = s, now
}

// listening is for how long the platform takes a connector that it has heard of for one that runs.
const listening = 5 * time.Minute

// empty is what a reset does to the state.
func (c *connector) empty(lag time.Duration) {
	nothing := ""
	c.reset = true
	c.store(stored{&nothing, laterThan(c.stateTime)}, lag)
}

// shown is what was stored some time ago.
func (c *connector) shown(ago time.Duration) stored {
	then := time.Now().Add(-ago)
	for _, v := range c.earlier {
		if v.until.After(then) {
			return v.stored
		}
	}
	return c.stored
}

func readInfo(in map[string]any) Info {
	return Info{
		RunAndTerminate: in["run_and_terminate"] == true, Buffering: in["buffering"] == true,
		QueueThreshold: number(in["queue_threshold"]), QueueMessagesSize: number(in["queue_messages_size"]),
		NextRun: text(in["next_run_datetime"]), LastRun: text(in["last_run_datetime"]),
	}
}
