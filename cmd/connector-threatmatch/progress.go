package main

// progress is told how a run gets on. Its methods are called from several goroutines and do not block.
type progress interface {
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

// sentLine is the line that counts what went out, below those of the datasets.
const sentLine = "messages"
