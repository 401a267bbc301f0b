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

type connector struct {
	id        string
	state     *string
	stateTime time.Time
	reset     bool
}

func readInfo(in map[string]any) Info {
	return Info{
		RunAndTerminate: in["run_and_terminate"] == true, Buffering: in["buffering"] == true,
		QueueThreshold: number(in["queue_threshold"]), QueueMessagesSize: number(in["queue_messages_size"]),
		NextRun: text(in["next_run_datetime"]), LastRun: text(in["last_run_datetime"]),
	}
}
