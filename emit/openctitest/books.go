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

// Work is the books of one work.
type Work struct {
	ID        string
	Name      string
	MultiPart bool
	// Expected is the sum of ExpectationCalls.
	Expected         int
	ExpectationCalls []int
	// Closed counts the calls of toProcessed; InError and Message are the last one's.
	Closed  int
	InError bool
	Message string
	Deleted bool
}

// queueSize is how much waits in the connector's queue.
type queueSize struct {
	messages int
	bytes    int64
}

type connector struct {
	id        string
	state     *string
	stateTime time.Time
	reset     bool
}

type work struct {
	Work
	closedAt time.Time
}

// kept bounds each list of what the platform was told: a simulated platform may serve for days. The oldest go first.
const kept = 100_000

// keep appends to a bounded list.
func keep[T any](list []T, v T) []T {
	if len(list) >= kept {
		list = slices.Delete(list, 0, kept/10)
	}
	return append(list, v)
}

// after returns the time, later than the one given even when the clock stands still.
func after(earlier time.Time) time.Time {
	now := time.Now().UTC().Truncate(time.Millisecond)
	if !now.After(earlier) {
		now = earlier.Add(time.Millisecond)
	}
	return now
}
