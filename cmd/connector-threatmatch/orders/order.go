// Package orders carries an operator's orders to a connector that runs, over a socket in its state folder, and tells what becomes
// of them.
package orders

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
)

// Backfill orders the import of an older window.
type Backfill struct {
	From time.Time `json:"from"`
	// To is where the window ends, zero for where the connector's own import began.
	To time.Time `json:"to,omitzero"`
	// Datasets are those to import.
	Datasets []string `json:"datasets"`
}

// Progress is what has become of a backfill.
type Progress struct {
	// Phase is what the backfill is at.
	Phase Phase `json:"phase"`
	// From, To and Left are the window, and the datasets of it that are not done; empty where there is none.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	Left []string  `json:"left,omitempty"`
	// Datasets tell of the run under way.
	Datasets []Dataset `json:"datasets,omitempty"`
	// Sent counts the objects that were sent since the connector took the order, or started where Earlier, and Known the copies that needed no
	// sending because an earlier run had delivered their object.
	Sent  int64 `json:"sent"`
	Known int64 `json:"copies_delivered_before"`
	// Earlier says that an earlier process had begun it, of which Sent, Known, LeftOut and Took tell nothing.
	Earlier bool `json:"begun_by_earlier_process"`
	// LeftOut tells in words what was not sent for reasons of the objects themselves.
	LeftOut string `json:"left_out,omitempty"`
	// Took is how long runs have worked on it, in seconds, and Remaining how long they still will, 0 for unknown.
	Took      float64 `json:"took_seconds"`
	Remaining float64 `json:"remaining_seconds,omitempty"`
	// Rate is how many objects are sent a second of late.
	Rate float64 `json:"rate_per_second,omitempty"`
	// WaitsFor is what the run under way waits for most, or what a backfill waits for that is not running: empty where it is about to.
	WaitsFor string `json:"waits_for,omitempty"`
	// OpenCTI is what its workers have made of all that was sent, the schedule's runs included; nil where they have nothing to import.
	OpenCTI *snapshot.Imports `json:"opencti,omitempty"`
	// Failure is why the last run of it failed, if it did.
	Failure string `json:"failure,omitempty"`
}

// Covers reports that an order was taken for the backfill under way, whose window is wider, or which has more datasets.
func (p Progress) Covers(order Backfill) bool {
	from, to := order.From.Truncate(time.Second), order.To.Truncate(time.Second)
	more := len(order.Datasets) > 0 && slices.ContainsFunc(p.Left, func(name string) bool { return !slices.Contains(order.Datasets, name) })
	return !p.From.IsZero() && (more || p.From.Before(from) || !order.To.IsZero() && to.Before(p.To))
}

// Phase is what a backfill is at.
type Phase string

// The phases.
const (
	None    Phase = "none"    // there is none
	Waiting Phase = "waiting" // to begin: for another run, or for a pause after a failure
	Running Phase = "running"
	Done    Phase = "done"
	// Cancelled is what a backfill is that was under way until then.
	Cancelled Phase = "cancelled"
	// Stopped is what one is that is not done, and nobody takes orders here who would go on with it; Elsewhere where somebody does who
	// uses another folder.
	Stopped   Phase = "stopped"
	Elsewhere Phase = "elsewhere"
)

// Over reports that nothing is left to watch.
func (p Phase) Over() bool { return p == None || p == Done || p == Cancelled }

// Dataset is how far one of a backfill is.
type Dataset struct {
	Name  string `json:"name"`
	Items int64  `json:"items"`
	// Left is how many items there still are, of a dataset that lists them first.
	Left int `json:"left,omitempty"`
	// Until is up to when all is read, of a dataset that is read in order of time.
	Until time.Time `json:"until,omitzero"`
	// After is what it goes on after, in its own words, where nobody works on it.
	After string `json:"after,omitempty"`
	// Share is how much is behind it, from 0 to 1: of the window, of a dataset that is read in order of time; else of what the run
	// under way has listed, which begins at 0 with each run that goes on with what is left.
	Share float64 `json:"share"`
	// Resumed says that an earlier run has begun it: Items and Left are of what that one left.
	Resumed bool `json:"resumed,omitempty"`
	Done    bool `json:"done"`
}

// Desk takes orders. Its methods may be called side by side.
type Desk interface {
	// Backfill takes an order, or goes on with the backfill under way where that covers it. The error says in words why not; it wraps ErrRefused where the
	// order cannot be taken as it is.
	Backfill(ctx context.Context, order Backfill) (Progress, error)
	// Cancel ends the backfill under way.
	Cancel(ctx context.Context) (Progress, error)
	// Progress tells what has become of it.
	Progress() Progress
}

var (
	// ErrNobody says that no connector runs on this machine with the state folder.
	ErrNobody = errors.New("no connector runs here")
	// ErrRefused says that an order cannot be taken as it is.
	ErrRefused = errors.New("refused")
)
