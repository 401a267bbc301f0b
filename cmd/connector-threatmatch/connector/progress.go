package connector

import "github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"

// Progress is told how a run gets on. Its methods are called from several goroutines and do not block.
type Progress interface {
	// Page says that a page with so many items was fetched.
	Page(dataset string, items int)
	// Done says that a dataset came to its end, with the error that ended it.
	Done(dataset string, err error)
	// Sent says that the broker confirmed so many more messages.
	Sent(n int)
}

// noProgress shows nothing.
type noProgress struct{}

// Page does nothing.
func (noProgress) Page(string, int) {}

// Done does nothing.
func (noProgress) Done(string, error) {}

// Sent does nothing.
func (noProgress) Sent(int) {}

// watchedProgress tells the status, too, what is fetched.
type watchedProgress struct {
	Progress
	status *status.Status
}

// Page counts and passes on.
func (w watchedProgress) Page(dataset string, items int) {
	w.status.Fetched(dataset, items)
	w.Progress.Page(dataset, items)
}
