package emit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// Config is what an [Emitter] works with. Zero numbers stand for the defaults of withDefaults.
type Config struct {
	Publisher Publisher
	Index     Index
	Books     *Books
	Gauge     *Gauge
	// Waiting keeps what waits on disk; nil keeps it in memory only.
	Waiting Waiting
	// Durable says that what Waiting keeps outlives the process.
	Durable bool
	// Platform is asked for objects that neither the run nor the index knows; nil is never asked.
	Platform    Platform
	WithoutRefs WithoutRefs
	// ApplicantID is the user in whose name OpenCTI imports.
	ApplicantID string
	// Run is the number of this run, another one for each.
	Run uint32
	// MaxMessageBytes is the size above which a message is not sent.
	MaxMessageBytes int
	// BatchObjects, BatchBytes and BatchAge say when a batch is sent: whichever is reached first.
	BatchObjects int
	BatchBytes   int
	BatchAge     time.Duration
	// ParkedBytes bounds what the texts of parked objects take in memory when Waiting is there, ParkedObjects how many
	// objects are parked at all: beyond it the oldest no longer wait.
	ParkedBytes   int
	ParkedObjects int
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
		c.ParkedObjects = 50_000 // some 30 MB of what is known about them; the disk holds more than their texts
	}
	if c.Sent == nil {
		c.Sent = func(int) {}
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	return c
}

// Account is what an emitter did, for the closing of the work and the log.
type Account struct {
	Messages  int64 // published, each object once
	Confirmed int64
	Repeated  int64 // copies of what was on its way already
	Known     int64 // delivered before with the same content, or a newer one
	Refused   int64 // too large for the broker
	Cleaned   int64 // sent without references that nothing brings
	Held      int64 // not sent, because nothing brings an end of the relation
	Cut       int64 // references taken away to break a cycle
	Evicted   int64 // waiting objects that had to give way on disk
	Parked    int   // waiting at this moment
}

// Emitter is the pipeline's sink.
type Emitter struct {
	cfg      Config
	envelope envelope

	mu           sync.Mutex // guards all below; confirms come from the publisher's goroutine
	order        *order
	account      Account
	oldest       time.Time // when the oldest of order.ready came; zero when there is none
	number       int       // of the last batch
	held         heldBack
	spilled      time.Time       // when parked objects were last put on disk
	forgot       time.Time       // when delivered ones were last taken off it
	diskFailed   bool            // the last attempt to do so failed
	unremembered bool            // something was left unsettled because the disk did not take note of it
	clogged      bool            // and left more of their texts in memory than it should
	relieved     bool            // so many waited that some were sent without what they waited for
	asked        map[string]bool // ids that the platform was asked for
	revived      map[string]bool // ids that were taken up from disk because something refers to them
	lastAsked    time.Time
	mute         bool // the platform is not asked any more in this run

	workJSON []byte // the work's id as JSON; only for the feeding goroutine
}

// New returns an emitter for one run.
func New(cfg Config) *Emitter {
	cfg = cfg.withDefaults()
	e := &Emitter{cfg: cfg, envelope: newEnvelope(cfg.ApplicantID), held: heldBack{store: cfg.Waiting}, asked: make(map[string]bool), revived: make(map[string]bool)}
	e.order = newOrder(cfg.Index, cfg.Run, e.held.placed)
	return e
}

// Account returns what was done so far.
func (e *Emitter) Account() Account {
	e.mu.Lock()
	defer e.mu.Unlock()
	a := e.account
	a.Parked = e.order.parked
	return a
}

// Put takes over the objects of one item; see [pipeline.Sink].
func (e *Emitter) Put(ctx context.Context, item pipeline.Item, objects []pipeline.Object, settled func(pipeline.Outcome)) error {
	now := time.Now()
	e.mu.Lock()
	r := newReceipt(settled)
	for _, object := range objects {
		e.take(item, object, r, now)
	}
	r.close()
	looksForCycles := e.order.entangled > 0 && e.order.parkedSince >= max(256, e.order.parked/2)
	if looksForCycles {
		e.cutCycles(now)
	}
	e.order.sweep()
	e.mu.Unlock()
	if err := e.relieve(ctx); err != nil {
		return err
	}
	if err := e.spill(ctx, false); err != nil {
		return err
	}
	return e.send(ctx, false)
}

// take hands one object to the order; e.mu is held.
func (e *Emitter) take(item pipeline.Item, object pipeline.Object, r *receipt, now time.Time) {
	if size := e.envelope.messageSize(len(object.JSON)); size > e.cfg.MaxMessageBytes {
		e.account.Refused++
		e.cfg.Log.Error("an object is too large for the queue and is not sent; raise CONNECTOR_MAX_MESSAGE_BYTES and the broker's limit to import it",
			zap.String("dataset", item.Dataset), zap.String("item", item.ID), zap.String("object", object.ID),
			zap.Int("bytes", size), zap.Int("limit", e.cfg.MaxMessageBytes))
		return
	}
	switch e.order.add(item.Dataset, object, r, now, false) {
	case repeated:
		e.account.Repeated++
	case delivered:
		e.account.Known++
	}
	e.noteAge(now)
}

// Tick sends a batch that has grown old, frees cycles, and puts on disk what has waited for a while.
func (e *Emitter) Tick(ctx context.Context) error {
	now := time.Now()
	e.mu.Lock()
	if e.order.entangled > 0 {
		e.cutCycles(now)
	}
	old := !e.oldest.IsZero() && now.Sub(e.oldest) >= e.cfg.BatchAge
	e.mu.Unlock()
	if err := e.spill(ctx, false); err != nil {
		return err
	}
	if err := e.forgetHeld(ctx, false); err != nil {
		return err
	}
	if err := e.askForAbsent(ctx, now); err != nil {
		return err
	}
	return e.send(ctx, old)
}

// errDisk fails a run of which something could not be remembered: its items are not settled, and the next run brings them
// again.
var errDisk = errors.New("objects that wait for others cannot be put on disk; make room in CONNECTOR_STATE_DIR, their items are fetched again by the next run")

// Finish sends all that may be sent and waits for the confirms. What waits for objects is cleaned when the run was
// complete, or when the disk remembers what was cleaned away: else a reference could be lost that the failed dataset
// would have answered.
func (e *Emitter) Finish(ctx context.Context, end pipeline.End) error {
	resolves := end == pipeline.Complete || (end == pipeline.Partial && e.cfg.Durable)
	for {
		if err := e.finishOnce(ctx, resolves); err != nil {
			return err
		}
		e.mu.Lock()
		done, forgotten := !resolves || len(e.held.arrived) == 0, e.unremembered
		e.mu.Unlock()
		switch {
		case done && forgotten:
			return errDisk
		case done:
			return nil
		}
	}
}

func (e *Emitter) finishOnce(ctx context.Context, resolves bool) error {
	end := e.resolve
	if !resolves {
		end = func(ctx context.Context) error { return e.spill(ctx, true) }
	}
	if err := end(ctx); err != nil {
		return err
	}
	if err := e.send(ctx, true); err != nil {
		return err
	}
	if err := e.cfg.Publisher.Flush(ctx); err != nil {
		return fmt.Errorf("wait for the broker's confirms: %w", err)
	}
	if err := e.cfg.Books.Check(ctx); err != nil {
		return err
	}
	return e.forgetHeld(ctx, true)
}

// send publishes full batches, and with all the rest too.
func (e *Emitter) send(ctx context.Context, all bool) error {
	for {
		if err := e.takeUpHeld(ctx); err != nil {
			return err
		}
		e.mu.Lock()
		if len(e.order.ready) == 0 || (!all && !e.full()) {
			e.mu.Unlock()
			return nil
		}
		e.number++
		batch := e.order.take(e.cfg.BatchObjects, e.cfg.BatchBytes, e.number)
		e.oldest = time.Time{}
		if len(e.order.ready) > 0 {
			e.oldest = time.Now()
		}
		first := e.account.Messages + 1
		e.account.Messages += int64(len(batch))
		e.mu.Unlock()
		if err := e.publish(ctx, batch, first); err != nil {
			return err
		}
	}
}

// full says that a batch is worth sending; e.mu is held.
func (e *Emitter) full() bool {
	return len(e.order.ready) >= e.cfg.BatchObjects || e.order.readyBytes >= e.cfg.BatchBytes
}

// publish sends one batch.
func (e *Emitter) publish(ctx context.Context, batch []*node, first int64) error {
	if err := e.load(batch); err != nil {
		return err
	}
	bytes := int64(0)
	for _, n := range batch {
		bytes += int64(e.envelope.messageSize(len(n.object.JSON)))
	}
	if err := e.cfg.Gauge.Wait(ctx, bytes); err != nil {
		return err
	}
	if err := e.cfg.Books.Expect(ctx, len(batch)); err != nil {
		return err
	}
	if e.workJSON == nil {
		e.workJSON = jsonString(e.cfg.Books.Work())
	}
	for i, n := range batch {
		body := e.envelope.message(e.workJSON, first+int64(i), n.object.ID, n.sequence, n.object.JSON)
		n.object.JSON, n.whole = nil, nil
		if err := e.cfg.Publisher.Publish(ctx, body, func() { e.confirmed(n) }); err != nil {
			return fmt.Errorf("publish %s: %w", n.object.ID, err)
		}
	}
	e.cfg.Sent(len(batch))
	return nil
}

// confirmed says that the broker has taken the node's message for good.
func (e *Emitter) confirmed(n *node) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.account.Confirmed++
	for older := n.older; older != nil; older = older.older {
		older.overtaken = true
	}
	if !n.overtaken {
		record := n.record(e.cfg.Run)
		e.cfg.Index.Put(n.key, record)
		if n.object.AltID != "" {
			e.cfg.Index.Put(n.alt, record)
		}
	}
	e.order.forget(n)
	e.held.delivered(n)
}
