package emit

import (
	"context"
	"iter"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// Config is what an [Emitter] works with. Zero numbers stand for the defaults of withDefaults.
type Config struct {
	// Outlet takes the messages. Where it is nil none is sent, no work expects any, and an object counts as delivered once the
	// deposits have it.
	Outlet Outlet
	// Deposits get each batch whole, in turn, before any message of it goes.
	Deposits []Deposit
	Index    Index
	Books    *Books
	Gauge    *Gauge
	// Store keeps the shelf; it must be set.
	Store Store
	// Durable says that what Store keeps outlives the process.
	Durable bool
	// Platform is asked for objects that neither the run nor the index knows, or of which the index is not sure; nil is never
	// asked, and the index is believed.
	Platform Platform
	// Anew has what earlier runs delivered sent again by the items that bring it beside something new: where somebody judges a run by
	// itself. EvenUnchanged has it sent by the other items, too.
	Anew, EvenUnchanged bool
	// VerifyAfter is how long the index is believed without asking; 0 is for ever. A day is its finest step.
	VerifyAfter time.Duration
	// Refusal outlives the run, so that a platform that refuses to answer is complained of once; nil is one for the run.
	Refusal *Refusal
	// Importing are the numbers of earlier runs that OpenCTI is not through with: what they brought may still be in
	// its queue, so that it does not hold it says nothing.
	Importing map[uint32]bool
	// Doubted are the numbers of earlier runs of which OpenCTI may not have imported all that was delivered.
	Doubted map[uint32]bool
	// KindOf tells the kind of an object, see [pipeline.Object], from its type in OpenCTI's GraphQL; nil knows none.
	KindOf func(typename string) uint8
	// Mapping changes objects; it must be set.
	Mapping Mapping
	// Fit makes a relation one that OpenCTI takes; nil sends all as they are.
	Fit Fit
	// ApplicantID is the user in whose name OpenCTI imports.
	ApplicantID string
	// Run is the number of this run, another one for each.
	Run uint32
	// MaxMessageBytes is the size above which a message is not sent, as long as the broker does not take less.
	MaxMessageBytes int
	// BatchObjects, BatchBytes and BatchAge say when a batch is sent: whichever is reached first.
	BatchObjects int
	BatchBytes   int
	BatchAge     time.Duration
	// ParkedBytes bounds what the texts of parked objects take in memory, ParkedObjects how many objects are parked at
	// all, and ParkedRefs what they wait for, each for itself: beyond these the oldest no longer wait.
	ParkedBytes   int
	ParkedObjects int
	ParkedRefs    int
	// NoteLarge is told of the objects of a batch that are so large that OpenCTI would not say which one failed, before
	// they are published; nil for nobody.
	NoteLarge func(ids []string)
	// Sent is told of each batch; nil for nobody.
	Sent func(messages int)
	Log  *zap.Logger
}

func (c Config) withDefaults() Config {
	if c.MaxMessageBytes <= 0 {
		c.MaxMessageBytes = 15 << 20 // RabbitMQ 4 refuses 16 MiB
	}
	if c.BatchObjects <= 0 {
		c.BatchObjects = 1000 // the confirm window, and the distance that keeps workers from waiting for each other
	}
	if c.BatchBytes <= 0 {
		c.BatchBytes = 8 << 20 // a thousand objects of ordinary size; bounds memory where they are large
	}
	if c.BatchAge <= 0 {
		c.BatchAge = 2 * time.Second // under a rate limit a batch fills slowly; progress should not wait for it
	}
	if c.ParkedBytes <= 0 {
		c.ParkedBytes = 16 << 20 // some ten thousand objects
	}
	if c.ParkedObjects <= 0 {
		c.ParkedObjects = 20_000 // some 20 MB of what is known about them; the disk holds more than their texts
	}
	if c.ParkedRefs <= 0 {
		c.ParkedRefs = 250_000 // some 30 MB of keys and texts; twelve of each of the objects
	}
	if c.Sent == nil {
		c.Sent = func(int) {}
	}
	if c.NoteLarge == nil {
		c.NoteLarge = func([]string) {}
	}
	if c.Refusal == nil {
		c.Refusal = new(Refusal)
	}
	if c.KindOf == nil {
		c.KindOf = func(string) uint8 { return 0 }
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	return c
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
	// Modified returns the version of what has the id, without reading it.
	Modified(id string) (modified time.Time, there bool)
	// IsAwaited says whether anything that is not parked waits for ref still.
	IsAwaited(ref index.Key) bool
	// Arrive takes note that ref has come and yields what has waited for nothing else: each once, and not what is parked.
	Arrive(ref index.Key) iter.Seq2[index.Waiter, error]
	// TakePartial yields at most so many of those of which a part of what they wait for has come, each once.
	TakePartial(most int) iter.Seq2[index.Waiter, error]
	// Restart begins that anew. It yields what waits for nothing but what counts as there, and what was not imported.
	Restart(counts func(ref index.Key) bool) iter.Seq2[index.Waiter, error]
	// All yields what is of some kinds.
	All(kinds ...index.WaiterKind) iter.Seq2[index.Waiter, error]
}

// Fit returns a relation as OpenCTI takes it, and anything else as it is. kind tells the kind of an end, see
// [pipeline.Object]. from and to are the relation's types before and after; to is "" where nothing had to change.
type Fit func(o pipeline.Object, kind func(ref string) uint8) (fitted pipeline.Object, from, to string)

// Mapping makes objects out of others, as the mapping that they come from would.
type Mapping struct {
	// WithoutRefs takes references out of an object, which keeps a marking all the same; false says that it makes no sense
	// without them.
	WithoutRefs func(o pipeline.Object, drop func(ref string) bool) (pipeline.Object, bool)
	// Yield is an object without the author that others have stated with more weight, and with the strictest marking of them, which
	// it then refers to.
	Yield func(o pipeline.Object, stated pipeline.Stated) pipeline.Object
	// Addition is a message that adds to an object what a copy of it states; false says that it states nothing of the part.
	// It refers to the object, and its ID, which has a line break, is that of AdditionID.
	Addition   func(o pipeline.Object, part pipeline.Part) (pipeline.Object, bool)
	AdditionID func(id string, part pipeline.Part, stated pipeline.Stated) string
	// Split divides an object into parts of at most so many bytes that OpenCTI makes whole again; parts is 0 where there are none.
	Split func(o pipeline.Object, most int) (parts int, text func(part int) []byte)
	// StandardMarking is the definition of a marking that is the same everywhere; false says that the id is of another.
	StandardMarking func(id string) (pipeline.Object, bool)
}
