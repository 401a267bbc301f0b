package emit

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/state/index"
)

// cutCycles frees what waits for each other and reports whether there was such a thing; e.mu is held.
func (e *Emitter) cutCycles(now time.Time) bool {
	// All cuts of an object at once: one that refers to a hundred thousand others is not written anew for each.
	var nodes []*node
	targets := make(map[*node]map[*node]bool)
	for _, c := range e.order.cycleCuts(e.essential) {
		if targets[c.node] == nil {
			nodes = append(nodes, c.node)
			targets[c.node] = make(map[*node]bool)
		}
		targets[c.node][c.target] = true
	}
	for _, n := range nodes {
		e.cutOne(n, targets[n])
	}
	e.noteAge(now)
	return len(nodes) > 0
}

// cutOne takes a node's references to some others away, as far as it still waits for them.
func (e *Emitter) cutOne(n *node, targets map[*node]bool) {
	refs := slices.DeleteFunc(slices.Clone(n.object.Refs), func(ref string) bool {
		key := index.KeyOf(ref)
		return !n.waitsFor(key) || !targets[e.order.live[key]] // else an earlier cut has freed it
	})
	if len(refs) == 0 {
		return
	}
	if err := e.loadOne(n); err != nil {
		e.leaveUnread(n, err)
		return
	}
	e.account.Cut += int64(len(refs))
	e.cfg.Log.Debug("objects refer to each other in a circle; references are left out",
		zap.String("object", n.object.ID), zap.Int("count", len(refs)), zap.Strings("references", refs[:min(10, len(refs))]))
	if e.without(n, refs) {
		return
	}
	// A newer version of what it cannot do without can open the circle; nothing else is to bring it back into this one.
	e.revived[n.object.ID] = true
	missing := slices.DeleteFunc(slices.Clone(refs), func(ref string) bool { return !e.essential(n, e.order.live[index.KeyOf(ref)]) })
	if len(missing) == 0 {
		missing = refs
	}
	waiter, err := e.waiter(n, missing)
	if err != nil {
		e.leaveUnread(n, err)
		return
	}
	waiter.Kind = index.HeldBack
	e.account.Held++
	e.order.skip(n)
	e.held.cleaned = append(e.held.cleaned, droppedNode{n, waiter})
}

// leaveUnread gives up a parked node in this run that the disk does not give back. Its item stays unsettled, so that it
// is fetched again.
func (e *Emitter) leaveUnread(n *node, err error) {
	e.cfg.Log.Error("an object that waits on disk cannot be read and is not sent; its item is fetched again", zap.String("object", n.object.ID), zap.Error(err))
	e.order.skip(n)
}

// essential reports whether n cannot be sent without its reference to t, or would be less protected without it.
func (e *Emitter) essential(n, t *node) bool {
	if strings.HasPrefix(t.object.ID, "marking-definition--") {
		return true
	}
	if n.object.Type != "relationship" && n.object.Type != "sighting" {
		return false
	}
	if err := e.loadOne(n); err != nil {
		return true
	}
	_, ok := e.cfg.WithoutRefs(n.object, func(ref string) bool {
		return ref == t.object.ID || (ref == t.object.AltID && ref != "")
	})
	return !ok
}

// without takes references out of a parked node, whose text is loaded, and places it when it waits for nothing else. It
// reports false, with the node as it was, when the node makes no sense without them.
func (e *Emitter) without(n *node, refs []string) bool {
	gone := make(map[string]bool, len(refs))
	for _, ref := range refs {
		gone[ref] = true
	}
	cleaned, ok := e.cfg.WithoutRefs(n.object, func(ref string) bool { return gone[ref] })
	if !ok {
		return false
	}
	e.order.parkedBytes += len(cleaned.JSON) - len(n.object.JSON)
	n.object, n.size, n.altered = cleaned, len(cleaned.JSON), true
	free := false
	for _, ref := range refs {
		free = n.stopWaiting(index.KeyOf(ref))
	}
	e.order.stale += len(refs)
	if free {
		e.order.unpark(n)
		e.order.place(n)
	}
	return true
}

// resolve ends all waiting: the run brings nothing more.
func (e *Emitter) resolve(ctx context.Context) error {
	for {
		if err := e.send(ctx, false); err != nil { // takes up what was held back for what has been placed
			return err
		}
		e.mu.Lock()
		nodes := e.order.parkedNodes()
		e.mu.Unlock()
		if len(nodes) == 0 {
			return nil
		}
		if progress, err := e.endWaiting(ctx, nodes); err != nil {
			return err
		} else if !progress {
			return fmt.Errorf("order objects: %d wait for each other, such as %s", len(nodes), nodes[0].object.ID)
		}
	}
}

// relieve ends the waiting of the objects that have waited longest where more wait than memory is meant for. That can
// cost a message, but no reference: the disk remembers what was cleaned away until it comes. Where the disk does not
// outlive the process it would be lost in a crash, so there they go on waiting.
func (e *Emitter) relieve(ctx context.Context) error {
	if e.cfg.Waiting == nil || !e.cfg.Durable {
		return nil
	}
	for first := true; ; first = false {
		e.mu.Lock()
		waiting, over := e.order.parked, e.order.parked > e.cfg.ParkedObjects
		said := e.relieved
		if (first && !over) || waiting <= e.cfg.ParkedObjects/2 {
			e.mu.Unlock()
			return nil
		}
		e.relieved = true
		// Half of them at once, so that looking for them costs each object little.
		nodes := e.order.longestParked(waiting - e.cfg.ParkedObjects/2)
		e.mu.Unlock()
		if !said {
			e.cfg.Log.Warn("many objects wait for what nothing has brought yet; the oldest are sent without, and again when it comes",
				zap.Int("waiting", waiting))
		}
		if progress, err := e.endWaiting(ctx, nodes); err != nil || !progress {
			return err
		}
		if err := e.forgetHeld(ctx, false); err != nil {
			return err
		}
	}
}

// endWaiting frees parked nodes of the references that nothing has brought, and where there is no such thing cuts cycles.
// What makes no sense without is held back; the disk remembers both, so that what brings the object makes it good. It
// reports whether there was anything to do.
func (e *Emitter) endWaiting(ctx context.Context, nodes []*node) (progress bool, err error) {
	// Little by little: each object that is on its way takes its text's room three times until it is sent.
	const atOnce = 1000
	seen := make(map[*node]bool, len(nodes))
	for some := range slices.Chunk(nodes, atOnce) {
		e.mu.Lock()
		some = e.order.leadsTo(some, seen)
		e.mu.Unlock()
		// What is held back is missing to others in turn: they follow at once, so that a long chain of relations is not
		// looked through from its beginning for each.
		for len(some) > 0 {
			ended, next, err := e.endWaitingOf(ctx, some)
			if err != nil {
				return progress, err
			}
			progress = progress || ended
			some = next
		}
		if err := e.send(ctx, false); err != nil {
			return progress, err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !progress {
		progress = e.cutCycles(time.Now())
	}
	e.order.sweep()
	return progress, nil
}

// revivedMost bounds what is remembered of the objects that this run has held back itself: some 20 MB.
const revivedMost = 200_000

// endWaitingOf also returns what waits for the nodes that were held back.
func (e *Emitter) endWaitingOf(ctx context.Context, nodes []*node) (progress bool, next []*node, err error) {
	e.mu.Lock()
	absent := e.order.absentOf(nodes)
	e.mu.Unlock()
	if len(absent) == 0 {
		return false, nil, nil
	}
	if found, err := e.reviveAbsent(ctx, absent); err != nil {
		return true, nil, err
	} else if found {
		e.mu.Lock()
		absent = e.order.absentOf(nodes)
		e.mu.Unlock()
	}
	if err := e.ask(ctx, absent); err != nil {
		return true, nil, err
	}
	e.mu.Lock()
	dropped := e.cleanAll(nodes)
	for _, d := range dropped {
		if len(e.revived) < revivedMost {
			e.revived[d.node.object.ID] = true // to take it up from disk again would change nothing
		}
		next = append(next, e.order.waitersOf(d.node)...)
	}
	e.noteAge(time.Now())
	e.mu.Unlock()
	return true, next, e.settleDropped(ctx, dropped)
}

// reviveAbsent takes up what is on disk of the absent objects, each once in a run: what it waited for may be about to go.
func (e *Emitter) reviveAbsent(ctx context.Context, absent []string) (found bool, err error) {
	if e.cfg.Waiting == nil {
		return false, nil
	}
	for _, id := range absent {
		if e.revived[id] || !e.cfg.Waiting.Has(id) {
			continue
		}
		e.revived[id], found = true, true
		one := func(yield func(index.Waiter, error) bool) {
			if w, there, err := e.cfg.Waiting.Get(id); there || err != nil {
				yield(w, err)
			}
		}
		if err := e.takeUp(ctx, one, func(index.Waiter) bool { return true }, nil); err != nil {
			return found, err
		}
	}
	return found, nil
}

// droppedNode is an object that was not sent, or not with all its references, and what the disk is to remember of it.
type droppedNode struct {
	node   *node
	waiter index.Waiter
}

// settleDropped puts on disk what was not sent before its items are settled. Where the disk does not take it, or the
// process dies in between, they stay unsettled and are fetched again.
func (e *Emitter) settleDropped(ctx context.Context, dropped []droppedNode) error {
	var waiters []index.Waiter
	for _, d := range dropped {
		// A newer version may have come, and what the disk holds of it is needed.
		if !e.outdated(d.node) {
			e.makeWay(d.node)
			waiters = append(waiters, d.waiter)
		}
	}
	if err := e.remember(ctx, waiters); err != nil {
		if ctx.Err() != nil {
			return err
		}
		e.mu.Lock()
		e.unremembered = true
		e.mu.Unlock()
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, d := range dropped {
		d.node.settle()
		if e.cfg.Waiting == nil {
			continue
		}
		for _, ref := range d.waiter.Missing {
			if e.order.known(index.KeyOf(ref)) {
				e.held.arrived = append(e.held.arrived, ref) // it came while the object was on its way without it
			}
		}
	}
	return nil
}

// cleanAll takes the references that nothing has brought out of parked nodes; e.mu is held. It returns what is not sent.
func (e *Emitter) cleanAll(nodes []*node) []droppedNode {
	slices.SortFunc(nodes, byID)
	// First of all nodes, so that it does not depend on the order whether one that is held back counts as brought.
	absent := make([][]string, len(nodes))
	for i, n := range nodes {
		absent[i] = e.order.absentRefs(n)
	}
	var dropped []droppedNode
	for i, n := range nodes {
		refs := absent[i]
		if len(refs) == 0 || n.state != parked {
			continue
		}
		waiter, err := e.waiter(n, append(slices.Clone(n.removed), refs...))
		if err != nil {
			e.leaveUnread(n, err)
			continue
		}
		if !e.cleanOne(n, refs, &waiter) {
			dropped = append(dropped, droppedNode{n, waiter})
		}
	}
	return dropped
}

// cleanOne takes references out of a node and reports whether it is sent: it is not when it makes no sense without them,
// nor when the platform has it in just this form.
func (e *Emitter) cleanOne(n *node, refs []string, waiter *index.Waiter) bool {
	e.cfg.Log.Info("an object refers to what nothing brings", zap.String("object", n.object.ID), zap.Strings("references", refs))
	if n.whole == nil {
		whole := n.object
		n.whole = &whole
	}
	n.removed = append(n.removed, refs...)
	waiter.Kind = index.Cleaned
	if rec, found := e.cfg.Index.Lookup(n.key); found && rec.Digest == n.digest() {
		e.account.Known++
		e.order.skip(n)
		return false
	}
	if e.without(n, refs) {
		e.account.Cleaned++
		n.afterwards = waiter
		return true
	}
	waiter.Kind = index.HeldBack
	e.account.Held++
	e.revived[n.object.ID] = true // nothing is to take it up again in this run but what it waits for
	e.order.skip(n)
	return false
}

// noteAge starts the age of a batch that has begun; e.mu is held.
func (e *Emitter) noteAge(now time.Time) {
	if e.oldest.IsZero() && len(e.order.ready) > 0 {
		e.oldest = now
	}
}
