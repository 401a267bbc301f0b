package pipeline

import (
	"context"
	"errors"
)

// ErrAbandon marks a cause that makes a run void: nothing more is sent or committed, not even what is under way. Cancel
// the context of [Run] with a cause that wraps it.
var ErrAbandon = errors.New("the run is void")

// Outcome is what a sink says of an item.
type Outcome int

const (
	// Parked says that what is not confirmed of the item waits in the sink for what other items bring, within the sink's
	// own bounds: fetching need not be held back for it.
	Parked Outcome = iota
	// Kept says that what is not confirmed of the item waits on the sink's own disk: the item need not be fetched again
	// as long as that disk is there.
	Kept
	// Delivered says that nothing of the item is left to do.
	Delivered
)

// End says how the datasets of a run ended.
type End int

const (
	// Complete says that every dataset was read to its end.
	Complete End = iota
	// Partial says that a dataset or a part of one failed: what that would have brought is left to a later run.
	Partial
	// Interrupted says that the run was told to stop.
	Interrupted
)

// Sink delivers objects. Run calls it from a single goroutine.
type Sink interface {
	// Put takes over the objects of one item and blocks while it can take no more. It calls settled once with Delivered
	// when every object is confirmed or needs no sending, perhaps before that once each with Parked and with Kept, from
	// any goroutine, perhaps before Put returns; a second Delivered panics. An error ends the run.
	Put(ctx context.Context, item Item, objects []Object, settled func(Outcome)) error
	// Tick is called a few times a second, so that what has collected does not grow old. An error ends the run.
	Tick(ctx context.Context) error
	// Hurry sends what has collected, since fetching waits for the room that it takes. An error ends the run.
	Hurry(ctx context.Context) error
	// Finish sends what has collected and returns when all of it is confirmed.
	Finish(ctx context.Context, end End) error
	// Carry takes up what an earlier run has kept of a dataset; settled is as for Put. It is called before any Put.
	Carry(ctx context.Context, dataset string, settled func(Outcome)) error
}

// Checkpoint keeps the cursors.
type Checkpoint interface {
	// Cursor is where a dataset goes on.
	Cursor(dataset string) Cursor
	// Commit returns nil once the cursors are stored for good.
	Commit(ctx context.Context, cursors map[string]Cursor) error
}

// Observer is told how a run gets on. Its methods are called from several goroutines and must not block.
type Observer interface {
	// Page says that a page with so many items was fetched, and where the source is behind it.
	Page(dataset string, items int, at Position)
	// Done says that a dataset came to its end, with the error that ended it.
	Done(dataset string, err error)
}
