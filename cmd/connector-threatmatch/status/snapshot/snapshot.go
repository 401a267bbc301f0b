// Package snapshot is what the connector shows of itself at a moment: the JSON of its status address, and what its status page
// draws. It holds no secret.
package snapshot

import "time"

// Snapshot is the connector at a moment. What is not known is zero and, where it can be, absent.
type Snapshot struct {
	At          time.Time `json:"at"`
	Name        string    `json:"name"`
	ConnectorID string    `json:"connector_id"`
	Version     string    `json:"version"`
	Started     time.Time `json:"started"` // the program
	// Activity is starting, idle, running, stopping (a run settles what is under way) or stopped.
	Activity string  `json:"activity"`
	Live     Verdict `json:"live"`
	Ready    Verdict `json:"ready"`
	// Says is the connector's state in one sentence, for people.
	Says string `json:"says"`
	// Way is ThreatMatch, connector, queue and OpenCTI, in this order.
	Way []Station `json:"way"`
	// Stages are the stages of the run under way, in the order in which items pass them; empty between runs.
	Stages []Stage `json:"stages,omitempty"`
	// Run is the run under way, nil between two.
	Run     *Run      `json:"run,omitempty"`
	NextRun time.Time `json:"next_run,omitzero"`
	Queue   Queue     `json:"queue"`
	Imports Imports   `json:"imports"`
	// FailedRequests are those to ThreatMatch since the start, repeated ones included, by cause: rate_limited, server_error,
	// client_error, unauthorized, timeout, connection, tls, unreadable or other.
	FailedRequests []Count `json:"failed_requests,omitempty"`
	// Problems are the last lines of the log that were a warning or an error, whatever the log's level, newest first.
	Problems []Problem `json:"problems,omitempty"`
	// History are the last runs that have ended, newest first, those of earlier processes included.
	History []Run `json:"history,omitempty"`
}

// Verdict is an answer about health.
type Verdict struct {
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"` // why not
}

// The names of the stations.
const (
	ThreatMatch = "ThreatMatch"
	Connector   = "connector"
	QueueName   = "queue"
	OpenCTI     = "OpenCTI"
)

// Station is one of the four that intelligence passes.
type Station struct {
	Name string `json:"name"`
	// Rate is how many Unit a second pass it of late.
	Rate float64 `json:"rate_per_second"`
	Unit string  `json:"unit"` // items, objects or messages
	// Says is what it is at, for people, such as "waits for the rate limit".
	Says string `json:"says"`
	// Slowest marks the one that decides when everything is imported. None is while nothing moves.
	Slowest bool `json:"slowest"`
	// Trouble says that it is away, refuses or is blocked.
	Trouble bool `json:"trouble"`
}

// Stage is one of the pipeline's.
type Stage struct {
	Name string `json:"name"` // fetch, transform, emit or publish
	// Passed counts what has passed it in the run, in Unit.
	Passed int64   `json:"passed"`
	Rate   float64 `json:"rate_per_second"` // of late
	Unit   string  `json:"unit"`            // items, objects or messages
	// Room is what lies before it: the channel that it takes from, or the window of what is not confirmed. Nil for the first.
	Room *Room `json:"room,omitempty"`
	// Bottleneck marks the one that holds up the others of late.
	Bottleneck bool `json:"bottleneck"`
}

// The names of the stages.
const (
	Fetch     = "fetch"
	Transform = "transform"
	Emit      = "emit"
	Publish   = "publish"
)

// Room is how full a bounded place is.
type Room struct {
	Used  int64   `json:"used"`
	Bound int64   `json:"bound"`
	Share float64 `json:"share"` // on average of late, from 0 to 1
	Unit  string  `json:"unit"`  // items, messages or bytes
}

// The purposes of runs.
const (
	Import   = "import"   // of what changed since the last run
	Resend   = "resend"   // of what OpenCTI could not import
	Backfill = "backfill" // of an older window
)

// Run is a run under way or one that has ended.
type Run struct {
	Purpose string    `json:"purpose"`
	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended,omitzero"`
	// Outcome is in words how it ended.
	Outcome string `json:"outcome,omitempty"`
	Failed  bool   `json:"failed"`
	// Sent counts objects that the broker has confirmed; Skipped copies that needed no sending, for an earlier run had
	// delivered their object; LeftOut what cannot be imported; NotFetched items and pages that could not be read.
	Sent       int64 `json:"sent"`
	Skipped    int64 `json:"skipped"`
	LeftOut    int64 `json:"left_out"`
	NotFetched int64 `json:"not_fetched"`
	// WaitsFor is what holds it up most, and Remaining how many seconds fetching and sending the rest will take, 0 for unknown.
	WaitsFor  string    `json:"waits_for,omitempty"`
	Remaining float64   `json:"remaining_seconds,omitempty"`
	Datasets  []Dataset `json:"datasets,omitempty"`
}

// Dataset is how far a run is with one.
type Dataset struct {
	Name  string    `json:"name"`
	Since time.Time `json:"since,omitzero"` // where its pass began
	Items int64     `json:"items"`
	// Left is how many items there still are, of a dataset that lists them first.
	Left int `json:"left,omitempty"`
	// Until is up to when all is read, of a dataset that is read in order of time.
	Until time.Time `json:"until,omitzero"`
	// Share is how much is behind it, from 0 to 1.
	Share     float64 `json:"share"`
	Remaining float64 `json:"remaining_seconds,omitempty"` // 0 for unknown
	Done      bool    `json:"done"`
	Failure   string  `json:"failure,omitempty"`
}

// Queue is the connector's queue and its broker.
type Queue struct {
	Bytes     int64 `json:"bytes"` // when OpenCTI was last asked
	Threshold int64 `json:"threshold_bytes"`
	Buffering bool  `json:"buffering"` // the run waits for it to drain
	// Connected and Blocked are of the broker's connection, which there is only during a run.
	Connected   bool  `json:"connected"`
	Blocked     bool  `json:"blocked"`
	Unconfirmed int64 `json:"unconfirmed_messages"`
}

// Count is how often something was met.
type Count struct {
	Name  string `json:"name"`
	Count int64  `json:"count"`
}

// Problem is something that the log has told.
type Problem struct {
	At      time.Time `json:"at"`
	Error   bool      `json:"error"` // else a warning
	Says    string    `json:"says"`
	Dataset string    `json:"dataset,omitempty"`
	Item    string    `json:"item,omitempty"`
	Reason  string    `json:"reason,omitempty"` // the error behind it
	// Over says that it was told since that this is over.
	Over bool `json:"over"`
}
