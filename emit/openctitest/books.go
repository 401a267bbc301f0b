package openctitest

import "time"

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
	ConnectorID string
	// State is what the connector sent.
	State string
	Info  Info
	Time  time.Time
	// Stored is false for the ping that a reset answered. It and Answer are not known yet when OnPing is called.
	Stored bool
	// Answer is the state that the connector was told.
	Answer string
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
	ID          string
	ConnectorID string
	Name        string
	MultiPart   bool
	Opened      time.Time
	// Expected is the sum of ExpectationCalls and of what pushed bundles added.
	Expected         int
	ExpectationCalls []int
	// Processed counts what was reported as done.
	Processed int
	// Closed counts the calls of toProcessed; InError and Message are the last one's.
	Closed  int
	InError bool
	Message string
	Deleted bool
}

// Bundle is one call of stixBundlePush.
type Bundle struct {
	ConnectorID string
	WorkID      string
	Content     string
}

// Upload is one call of uploadPending.
type Upload struct {
	Name     string
	EntityID string
	Markings []string
	Content  []byte
}

// QueueSize is how much waits in the connector's queue.
type QueueSize struct {
	Messages int
	Bytes    int64
}

type connector struct {
	id        string
	name      string
	kind      string
	scope     []string
	state     *string
	stateTime time.Time
	reset     bool
	info      *Info
	created   time.Time
	updated   time.Time
}

type work struct {
	Work
	closedAt time.Time
	errors   []string
}
