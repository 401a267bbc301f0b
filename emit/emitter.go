package emit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// Emitter is the pipeline's sink for one run. One goroutine feeds it; [Emitter.Account] may be called from any.
type Emitter struct {
	cfg      Config
	order    *order
	shelf    *shelf
	inquiry  *inquiry
	resolver *resolver
	delivery *delivery
	account  counters
	relieved bool        // so many were parked that some were sent without what they waited for
	placed   []index.Key // reused by send
}

// New returns an emitter for one run.
func New(cfg Config) *Emitter {
	cfg = cfg.withDefaults()
	e := &Emitter{cfg: cfg}
	mapping := newGuard(cfg, &e.account)
	e.order = newOrder(cfg.Index, newTrust(cfg), mapping, cfg.Run)
	e.shelf = &shelf{store: cfg.Store, index: cfg.Index, order: e.order, memory: cfg.ParkedBytes, atOnce: cfg.BatchBytes, account: &e.account, log: cfg.Log}
	e.inquiry = &inquiry{
		order: e.order, shelf: e.shelf, kindOf: cfg.KindOf, account: &e.account, memory: cfg.ParkedBytes,
		holdings: &holdings{platform: cfg.Platform, refusal: cfg.Refusal, log: cfg.Log, noted: make(map[index.Key]bool)},
	}
	e.resolver = &resolver{
		order: e.order, shelf: e.shelf, inquiry: e.inquiry, mapping: mapping, account: &e.account, log: cfg.Log,
		tried: make(map[index.Key]bool),
	}
	e.delivery = newDelivery(cfg, e.order, e.shelf, &e.account)
	e.shelf.sendFull = e.delivery.sendFull
	return e
}

// Account returns what was done so far.
func (e *Emitter) Account() Account { return e.account.account() }

// Recover takes up what was held back or cleaned for lack of objects that have been delivered since: a run that was cut
// short may have come no further than these. It is called before anything else.
func (e *Emitter) Recover(ctx context.Context) error {
	defer e.pause()
	return e.shelf.takeUpAnswered(ctx)
}

// Carry takes up what an interrupted run had parked of a dataset; see [pipeline.Sink].
func (e *Emitter) Carry(ctx context.Context, dataset string, settled func(pipeline.Outcome)) error {
	defer e.pause()
	r := newReceipt(settled)
	if err := e.shelf.carry(ctx, dataset, r); err != nil {
		return err
	}
	r.close()
	return nil
}

// Put takes over the objects of one item; see [pipeline.Sink].
func (e *Emitter) Put(ctx context.Context, item pipeline.Item, objects []pipeline.Object, settled func(pipeline.Outcome)) error {
	defer e.pause()
	e.delivery.settle()
	if err := e.delivery.makeGood(ctx); err != nil { // before anything refers to what was not taken
		return err
	}
	r := newReceipt(settled)
	now := time.Now()
	e.order.trust.tell(now)
	e.inquiry.lastPut = now
	unchanged := e.isUnchanged(objects, now)
	for i := range objects {
		if i%1000 == 999 && ctx.Err() != nil { // an item can have a hundred thousand
			return context.Cause(ctx)
		}
		e.take(&item, &objects[i], r, now, unchanged)
	}
	r.close()
	if e.order.entangled > 0 && e.order.parkedSince >= max(256, e.order.parked/2) {
		if _, err := e.resolver.cutCycles(ctx); err != nil {
			return err
		}
	}
	e.order.sweep()
	if err := e.inquiry.goOn(ctx, now); err != nil {
		return e.saveWhatWaits(ctx, err)
	}
	if err := e.relieve(ctx); err != nil {
		return e.saveWhatWaits(ctx, err)
	}
	if err := e.shelf.saveParked(ctx, now, false); err != nil {
		return err
	}
	return e.send(ctx, false)
}

// take hands one object to the order, unless it is one of an item of which nothing is new.
func (e *Emitter) take(item *pipeline.Item, object *pipeline.Object, r *receipt, now time.Time, unchanged bool) {
	if object.Filtered != pipeline.Wanted {
		e.order.trust.anew = e.cfg.Anew && !unchanged
		defer func() { e.order.trust.anew = e.cfg.Anew }()
		if dropped := e.order.leaveOut(item.Dataset, object, r, now); dropped != nil {
			e.account.barred.Add(1)
			e.shelf.delivered(dropped)
		}
		return
	}
	if size, fits := e.delivery.fits(object); !fits {
		e.delivery.refuse(item, object, size)
		return
	}
	if unchanged {
		e.account.known.Add(1)
		return
	}
	switch e.shelf.add(item.Dataset, object, r, now, false) {
	case repeated, confirmed:
		e.account.repeated.Add(1)
	case delivered:
		e.account.known.Add(1) // what is doubted counts when it is answered
	case filtered:
		e.account.barred.Add(1)
	}
}

// Tick sends a batch that has grown old, frees cycles, saves what has been parked for a while, and asks for it.
func (e *Emitter) Tick(ctx context.Context) error {
	defer e.pause()
	e.delivery.settle()
	if e.order.entangled > 0 {
		if _, err := e.resolver.cutCycles(ctx); err != nil {
			return err
		}
	}
	now := time.Now()
	old := e.delivery.isOld(now)
	if err := e.shelf.saveParked(ctx, now, false); err != nil {
		return err
	}
	if err := e.shelf.tidy(ctx, false); err != nil {
		return err
	}
	now = time.Now()
	e.inquiry.lookAround(now)
	if err := e.inquiry.goOn(ctx, now); err != nil {
		return e.saveWhatWaits(ctx, err)
	}
	return e.send(ctx, old)
}

// Hurry sends what may go.
func (e *Emitter) Hurry(ctx context.Context) error {
	defer e.pause()
	return e.send(ctx, true)
}

// saveWhatWaits puts on the shelf what waits where OpenCTI does not say what it holds, which ends the run before Finish.
func (e *Emitter) saveWhatWaits(ctx context.Context, err error) error {
	if errors.Is(err, errUnknown) {
		err = errors.Join(err, e.shelf.saveParked(ctx, time.Now(), true))
	}
	return err
}

// errDisk fails a run of which something could not be remembered: its items are not settled, and the next run brings them
// again.
var errDisk = errors.New("objects that wait for others cannot be put on disk; make room in CONNECTOR_STATE_DIR, or make it writable: their items are fetched again by the next run")

// Finish sends all that may be sent and waits for the confirms. The waiting of parked objects is ended when the run was
// complete, or when the shelf outlives the process: else a reference could be lost that the failed dataset would have
// answered. Where OpenCTI does not say what it holds, what waits for that stays on the shelf, and the error wraps errUnknown.
func (e *Emitter) Finish(ctx context.Context, end pipeline.End) error {
	defer e.pause()
	resolves := end == pipeline.Complete || (end == pipeline.Partial && e.cfg.Durable)
	for {
		if err := e.finishOnce(ctx, resolves); err != nil {
			return err
		}
		// What was noted on the shelf last may have been answered meanwhile.
		if resolves && len(e.order.newlyPlaced) > 0 {
			continue
		}
		if e.shelf.lost {
			return errDisk
		}
		return nil
	}
}

func (e *Emitter) finishOnce(ctx context.Context, resolves bool) error {
	if resolves {
		if err := e.resolveAll(ctx); err != nil {
			if errors.Is(err, errUnknown) {
				err = errors.Join(err, e.finishOnce(ctx, false))
			}
			return err
		}
	} else if err := e.shelf.saveParked(ctx, time.Now(), true); err != nil {
		return err
	}
	if err := e.send(ctx, true); err != nil {
		return err
	}
	if err := e.delivery.flush(ctx); err != nil {
		return err
	}
	return e.shelf.tidy(ctx, true)
}

// resolveAll ends all waiting: the run brings nothing more.
func (e *Emitter) resolveAll(ctx context.Context) error {
	if err := e.inquiry.askForTheShelf(ctx); err != nil {
		return err
	}
	for {
		if err := e.send(ctx, false); err != nil { // takes up what was held back for what has been placed
			return err
		}
		if err := e.inquiry.settle(ctx, nil); err != nil {
			return err
		}
		if len(e.order.newlyPlaced) > 0 {
			continue
		}
		nodes := e.order.parkedNodes()
		if len(nodes) == 0 {
			some, err := e.shelf.takeUpPartial(ctx)
			if err != nil || !some {
				return err
			}
			continue
		}
		if progress, err := e.endWaiting(ctx, nodes); err != nil {
			return err
		} else if !progress {
			return fmt.Errorf("order objects: %d wait for each other, such as %s", len(nodes), nodes[0].object.ID)
		}
	}
}

// relieve ends the waiting of the objects that have waited longest where more are parked than memory is meant for, or than the
// shelf takes. That can cost a message, but no reference: the shelf remembers what was cleaned away until it comes. Where it
// does not outlive the process the reference can be lost with that, but a run that went beyond its memory, or ended, would do so
// each time and never bring anything.
func (e *Emitter) relieve(ctx context.Context) error {
	// Items whose objects are parked have left the payload that is under way, so that nothing else bounds what the disk does not take.
	const most = 4 // times what is parked in memory at all
	if e.shelf.failing && !e.shelf.full && e.order.parkedBytes > most*e.shelf.memory {
		return errDisk
	}
	// Half of them at once, so that looking for them costs each object little.
	objects, refs := e.order.parked, e.order.open
	if e.shelf.full || objects > e.cfg.ParkedObjects {
		objects = min(objects, e.cfg.ParkedObjects) / 2
	}
	if refs > e.cfg.ParkedRefs {
		refs = e.cfg.ParkedRefs / 2
	}
	if e.order.parked <= objects && e.order.open <= refs {
		return nil
	}
	if !e.relieved {
		e.relieved = true
		e.cfg.Log.Warn("many objects wait for what nothing has brought yet; the oldest are sent without, and again when it comes",
			zap.Int("waiting", e.order.parked), zap.Int("references", e.order.open))
	}
	for e.order.parked > objects || e.order.open > refs {
		progress, err := e.endWaiting(ctx, e.order.longestParked(e.order.parked-objects, e.order.open-refs))
		if err != nil || !progress {
			return err
		}
	}
	e.shelf.full, e.shelf.crowded = false, false // until it says so again
	return nil
}

// endWaiting ends the waiting of nodes and of what they wait for, and where nothing is absent cuts cycles. It sends on
// the way: each object that is on its way takes its text's room three times until it is sent.
func (e *Emitter) endWaiting(ctx context.Context, nodes []*node) (progress bool, err error) {
	const atOnce = 1000
	seen := make(map[*node]bool, len(nodes))
	for some := range slices.Chunk(nodes, atOnce) {
		ended, err := e.resolver.endAbsent(ctx, e.order.leadsTo(some, seen))
		progress = progress || ended
		if err != nil {
			return progress, err
		}
		if err := e.send(ctx, false); err != nil {
			return progress, err
		}
		// What was cleaned is in memory until the shelf has taken note of it.
		if err := e.shelf.tidy(ctx, false); err != nil {
			return progress, err
		}
	}
	if !progress {
		progress, err = e.resolver.cutCycles(ctx)
	}
	e.order.sweep()
	return progress, err
}

// send lets what was held back follow what was placed, and sends full batches; with all the rest too.
func (e *Emitter) send(ctx context.Context, all bool) error {
	for {
		if err := e.shelf.saveFragile(ctx); err != nil {
			return err
		}
		e.placed = e.order.takeNewlyPlaced(e.placed[:0])
		for _, key := range e.placed {
			if err := e.shelf.takeUpWaitersOf(ctx, key); err != nil {
				return err
			}
		}
		if len(e.order.newlyPlaced) > 0 {
			continue
		}
		e.account.parked.Store(int64(e.order.parked))
		if sent, err := e.delivery.sendBatch(ctx, all); err != nil || !sent {
			return err
		}
	}
}

// Close takes note of what was confirmed after the last call, for the index. It is called once the publisher is closed.
func (e *Emitter) Close() {
	e.inquiry.holdings.close()
	e.pause()
}

// pause ends a call: what the broker has confirmed by then is settled also where the call failed, for no other may follow.
func (e *Emitter) pause() {
	e.delivery.settle()
	e.delivery.noteAge()
	e.account.parked.Store(int64(e.order.parked))
}
