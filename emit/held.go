package emit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// heldBack is the emitter's view of what waits on disk. Its fields are guarded by the emitter's mutex, the store is not.
type heldBack struct {
	store Waiting
	// arrived lists ids that were placed, and for which something on disk may wait.
	arrived []string
	// cleaned lists objects that were delivered without some of their references, or not at all, to break a circle; they
	// are settled once the disk knows.
	cleaned []droppedNode
	// settled lists what the disk need not hold any more.
	settled []settledVersion
}

// placed notes that an object is on its way for which something on disk may wait.
func (h *heldBack) placed(n *node) {
	if h.store == nil {
		return
	}
	h.arrived = append(h.arrived, n.object.ID)
	if n.object.AltID != "" {
		h.arrived = append(h.arrived, n.object.AltID)
	}
}

// delivered settles a node that was confirmed. The disk need not hold it any more, or from now on as one that was sent
// without some of its references: then it is settled when that is written.
func (h *heldBack) delivered(n *node) {
	if h.store != nil && n.afterwards != nil {
		h.cleaned = append(h.cleaned, droppedNode{n, *n.afterwards})
		n.afterwards = nil
		return
	}
	n.settle()
	switch {
	case h.store == nil:
	case n.onDisk || h.store.Has(n.object.ID):
		h.settled = append(h.settled, settledVersion{n.object.ID, n.object.Modified})
	}
}

// takeUpHeld lets what an earlier run held back follow what this run has placed.
func (e *Emitter) takeUpHeld(ctx context.Context) error {
	for {
		e.mu.Lock()
		arrived := e.held.arrived
		e.held.arrived = nil
		e.mu.Unlock()
		if len(arrived) == 0 {
			return nil
		}
		for _, id := range arrived {
			if err := e.takeUp(ctx, e.cfg.Waiting.WaitersOf(id), e.isHeldBack, nil); err != nil {
				return err
			}
		}
	}
}

// isHeldBack picks what an earlier run held back; what is parked the order has, and releases by itself.
func (e *Emitter) isHeldBack(w index.Waiter) bool { return w.Kind != index.Parked }

// takeUp hands what waits on disk, and is picked, to the order.
func (e *Emitter) takeUp(ctx context.Context, waiters iter.Seq2[index.Waiter, error], pick func(index.Waiter) bool, r *receipt) error {
	for w, err := range waiters {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var object pipeline.Object
		if err == nil && !pick(w) {
			continue
		}
		if err == nil {
			object, err = decodeObject(w.Object)
		}
		if err != nil {
			e.cfg.Log.Warn("an object that waits on disk cannot be read", zap.String("object", w.ID), zap.Error(err))
			if r != nil {
				e.mu.Lock()
				r.count(1, 1, 1) // for good: what was not sent must not count as delivered
				e.mu.Unlock()
			}
			continue
		}
		e.mu.Lock()
		e.revive(w, object, r)
		e.mu.Unlock()
	}
	return nil
}

// revive hands an object from the disk to the order; e.mu is held.
func (e *Emitter) revive(w index.Waiter, object pipeline.Object, r *receipt) {
	now := time.Now()
	verdict := e.order.add(w.Dataset, object, r, now, w.Kind != index.Parked)
	n := e.order.live[index.KeyOf(object.ID)]
	switch {
	case verdict == delivered:
		e.held.settled = append(e.held.settled, settledVersion{object.ID, object.Modified})
	case n != nil && n.object.Modified.Equal(object.Modified.Truncate(time.Microsecond)) && n.digestOf == object.Digest:
		// The next run would take it up as well: a parked one with its page, one held back with what it waited for. What
		// was held back stays so on disk, for the page of such an object may have been delivered long ago.
		n.keep()
	}
	if verdict == accepted && n.onDisk && e.order.parkedBytes+e.order.readyBytes > e.cfg.ParkedBytes {
		e.order.letGo(n)
	}
	e.noteAge(now)
}

// Carry takes up what an interrupted run had parked of a dataset; see [pipeline.Sink].
func (e *Emitter) Carry(ctx context.Context, dataset string, settled func(pipeline.Outcome)) error {
	r := newReceipt(settled)
	if e.cfg.Waiting != nil {
		mine := func(w index.Waiter) bool { return w.Kind == index.Parked && w.Dataset == dataset }
		if err := e.takeUp(ctx, e.cfg.Waiting.All(), mine, r); err != nil {
			return fmt.Errorf("take up what the last run had parked: %w", err)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	r.close()
	return nil
}

// Recover takes up what was held back for objects that have been delivered since: a run that was cut short may have come
// no further than these. It is called before anything else.
func (e *Emitter) Recover(ctx context.Context) error {
	if e.cfg.Waiting == nil {
		return nil
	}
	return e.takeUp(ctx, e.cfg.Waiting.All(), func(w index.Waiter) bool {
		return w.Kind != index.Parked && slices.ContainsFunc(w.Missing, func(ref string) bool {
			_, found := e.cfg.Index.Lookup(index.KeyOf(ref))
			return found
		})
	}, nil)
}

// spillPatience is how long an object is parked before it is put on disk: a relation mostly waits for the rest of its own
// item only, and what is parked that short is not worth a write.
const spillPatience = 2 * time.Second

// spill puts on disk what has been parked for a while, so that its page can be committed, and lets go of the memory of
// parked objects beyond the bound. all puts everything there.
func (e *Emitter) spill(ctx context.Context, all bool) error {
	if e.cfg.Waiting == nil {
		e.keepInMemory(all)
		return nil
	}
	now := time.Now()
	e.mu.Lock()
	over := e.order.parkedBytes > e.cfg.ParkedBytes
	if (!over || e.clogged) && !all && now.Sub(e.spilled) < spillPatience {
		e.mu.Unlock()
		return nil
	}
	e.spilled = now
	var nodes []*node
	var waiters []index.Waiter
	for key, n := range e.order.live {
		if n.state != parked || n.key != key || (n.onDisk && n.object.JSON == nil) {
			continue
		}
		if n.onDisk || !(over || all || now.Sub(n.parkedAt) >= spillPatience) {
			continue
		}
		if e.cfg.Waiting.Has(n.object.ID) && e.holdsNewer(settledVersion{n.object.ID, n.object.Modified}) {
			continue // a newer one was held back, and its item is not fetched again
		}
		w, err := e.waiter(n, missingRefs(n))
		if err != nil {
			e.mu.Unlock()
			return err
		}
		w.Kind = index.Parked
		nodes, waiters = append(nodes, n), append(waiters, w)
	}
	e.mu.Unlock()
	err := e.remember(ctx, waiters)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.clogged = over // until it turns out that there is room again
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		return nil // a disk that is full costs memory and progress, not objects
	}
	for _, n := range nodes {
		n.keep()
	}
	if over {
		e.letGo()
	}
	e.clogged = e.order.parkedBytes > e.cfg.ParkedBytes
	return nil
}

// letGo frees the memory of parked objects that the disk holds; e.mu is held.
func (e *Emitter) letGo() {
	for _, n := range e.order.live {
		if n.state == parked && n.onDisk && !n.altered && n.object.JSON != nil {
			e.order.letGo(n)
		}
	}
}

// keepInMemory stands in for the disk where there is none: the pages of what waits are kept for as long as the process
// lives, and a later one fetches them again.
func (e *Emitter) keepInMemory(all bool) {
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if !all && (e.order.parked == 0 || now.Sub(e.spilled) < spillPatience) {
		return
	}
	e.spilled = now
	for _, n := range e.order.live {
		if n.state == parked {
			n.keep()
		}
	}
}

// remember saves objects on disk.
func (e *Emitter) remember(ctx context.Context, waiters []index.Waiter) error {
	if len(waiters) == 0 || e.cfg.Waiting == nil {
		return nil
	}
	evicted, err := e.cfg.Waiting.Save(ctx, waiters)
	e.mu.Lock()
	e.account.Evicted += int64(evicted)
	failedBefore := e.diskFailed
	e.diskFailed = err != nil
	e.mu.Unlock()
	if err != nil && !failedBefore && ctx.Err() == nil {
		e.cfg.Log.Warn("objects that wait for others cannot be put on disk", zap.Error(err))
	}
	return err
}

// forgetHeld notes on disk what was delivered incomplete and takes off it what was delivered, from time to time or with
// all. Before either the index is made durable: else a crash could leave an object that is neither fetched again nor
// known, and what refers to it would go without the reference.
func (e *Emitter) forgetHeld(ctx context.Context, all bool) error {
	// The index is written for it, so not for each; and those that were cleaned still have their texts in memory.
	const forgetEvery, forgetMost, cleanedMost = time.Second, 4096, 1000
	now := time.Now()
	e.mu.Lock()
	settled, cleaned := e.held.settled, e.held.cleaned
	few := len(settled) < forgetMost && len(cleaned) < cleanedMost && now.Sub(e.forgot) < forgetEvery
	if len(settled)+len(cleaned) == 0 || (few && !all) {
		e.mu.Unlock()
		return nil
	}
	e.forgot, e.held.settled, e.held.cleaned = now, nil, nil
	e.mu.Unlock()
	if err := e.cfg.Index.Flush(ctx); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("write the index of delivered objects: %w", context.Cause(ctx))
		}
		// It goes on from memory, without saying so again.
		e.cfg.Log.Warn("the index of delivered objects cannot be written", zap.Error(err))
	}
	if err := e.settleDropped(ctx, cleaned); err != nil {
		return err
	}
	e.forget(ctx, settled)
	return nil
}

// forget takes off the disk what it need not hold any more.
func (e *Emitter) forget(ctx context.Context, settled []settledVersion) {
	var ids []string
	for _, s := range settled {
		if !e.isOnDisk(s.id) && !e.holdsNewer(s) {
			ids = append(ids, s.id)
		}
	}
	if len(ids) == 0 {
		return
	}
	if err := e.cfg.Waiting.Remove(ctx, ids); err != nil && ctx.Err() == nil {
		// What stays behind is found delivered by the next run.
		e.cfg.Log.Debug("delivered objects could not be taken off the disk", zap.Error(err))
	}
}

// settledVersion is a version of an object that the disk need not hold any more.
type settledVersion struct {
	id       string
	modified time.Time
}

// holdsNewer reports whether the disk holds a newer version by now, which still waits.
func (e *Emitter) holdsNewer(s settledVersion) bool {
	w, found, err := e.cfg.Waiting.Get(s.id)
	if err != nil || !found {
		return false
	}
	object, err := decodeObject(w.Object)
	return err == nil && object.Modified.After(s.modified)
}

// isOnDisk reports whether an object is under way whose text may be on disk alone.
func (e *Emitter) isOnDisk(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.order.live[index.KeyOf(id)]
	return n != nil && n.onDisk
}

// outdated reports whether there is a newer version of a delivered or dropped object.
func (e *Emitter) outdated(n *node) bool {
	e.mu.Lock()
	newer := e.order.live[n.key]
	e.mu.Unlock()
	if newer != nil && newer.object.Modified.After(n.object.Modified) {
		return true
	}
	if rec, found := e.cfg.Index.Lookup(n.key); found && !n.object.Modified.IsZero() && rec.Modified > n.object.Modified.UnixMicro() {
		return true
	}
	return e.cfg.Waiting != nil && e.holdsNewer(settledVersion{n.object.ID, n.object.Modified})
}

// makeWay brings back the texts of older versions that are under way, before the disk holds this one in their place.
func (e *Emitter) makeWay(n *node) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for older := e.order.live[n.key]; older != nil; older = older.older {
		if older == n || older.state == gone || older.batch > 0 {
			continue
		}
		if err := e.loadOne(older); err == nil {
			older.altered = true // what the disk holds is not its text
		}
	}
}

// load brings back the texts of a batch that are on disk only.
func (e *Emitter) load(batch []*node) error {
	var errs []error
	for _, n := range batch {
		errs = append(errs, e.loadOne(n))
	}
	return errors.Join(errs...)
}

func (e *Emitter) loadOne(n *node) error {
	if n.object.JSON != nil {
		return nil
	}
	w, found, err := e.cfg.Waiting.Get(n.object.ID)
	if err == nil && !found {
		err = errors.New("it is not there any more")
	}
	var object pipeline.Object
	if err == nil {
		object, err = decodeObject(w.Object)
	}
	if err == nil && !object.Modified.Equal(n.object.Modified) {
		err = errors.New("another version is in its place")
	}
	if err != nil {
		return fmt.Errorf("read the parked object %s from disk: %w", n.object.ID, err)
	}
	n.object.JSON = object.JSON
	if n.state == parked {
		e.order.parkedBytes += len(object.JSON)
	}
	return nil
}

// waiter is what the disk remembers of a node that waits for refs.
func (e *Emitter) waiter(n *node, refs []string) (index.Waiter, error) {
	if err := e.loadOne(n); err != nil {
		return index.Waiter{}, err
	}
	// The disk holds one text under an id: those of older versions that are not sent yet are needed before this one takes
	// their place.
	for older := n.older; older != nil && older.state == placed && older.batch == 0; older = older.older {
		if err := e.loadOne(older); err != nil {
			return index.Waiter{}, err
		}
	}
	object := n.object
	if n.whole != nil {
		object = *n.whole
	}
	return index.Waiter{ID: n.object.ID, Object: encodeObject(object), Missing: refs, Dataset: n.dataset}, nil
}
