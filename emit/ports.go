package emit

import (
	"context"
	"fmt"
	"iter"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// ErrWorkGone says that an operator deleted the work of the run: workers drop its messages, so nothing of it counts.
var ErrWorkGone = fmt.Errorf("the work was deleted in OpenCTI: %w", pipeline.ErrAbandon)

// Publisher hands messages to the broker, in order.
type Publisher interface {
	// Publish blocks while the broker takes no more. confirmed is called once, from any goroutine, when the broker has
	// taken the message for good. The publisher keeps body until then. meanwhile is called while it blocks, on the
	// caller's goroutine, at its begin and whenever messages were confirmed.
	Publish(ctx context.Context, body []byte, confirmed, meanwhile func()) error
	// Flush returns when everything published is confirmed, and calls meanwhile likewise.
	Flush(ctx context.Context, meanwhile func()) error
}

// Index remembers what the platform has been sent.
type Index interface {
	Lookup(index.Key) (index.Record, bool)
	Put(index.Key, index.Record)
	// Flush makes what was put durable.
	Flush(ctx context.Context) error
}

// Store keeps the objects on the shelf, across runs.
type Store interface {
	// Save returns when the objects would survive a crash. It reports how many older ones had to give way.
	Save(ctx context.Context, waiters []index.Waiter) (evicted int, err error)
	Remove(ctx context.Context, ids []string) error
	Get(id string) (index.Waiter, bool, error)
	Has(id string) bool
	// WaitersOf yields what waits for ref; it costs little where nothing does.
	WaitersOf(ref string) iter.Seq2[index.Waiter, error]
	All() iter.Seq2[index.Waiter, error]
}

// Platform tells which objects OpenCTI holds already: those of the ids that it knows, each with its type in GraphQL. Its
// errors are those of [opencti.Client].
type Platform interface {
	Holds(ctx context.Context, ids []string) (map[string]string, error)
}

// Fit returns a relation as OpenCTI takes it, and anything else as it is. kind tells the kind of an end, see
// [pipeline.Object]. from and to are the relation's types before and after; to is "" where nothing had to change.
type Fit func(o pipeline.Object, kind func(ref string) uint8) (fitted pipeline.Object, from, to string)

// WithoutRefs takes references out of an object; false says that the object makes no sense without them.
type WithoutRefs func(o pipeline.Object, drop func(ref string) bool) (pipeline.Object, bool)
