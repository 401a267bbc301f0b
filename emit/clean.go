package emit

import (
	"context"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/state/index"
)

// cutCycles frees what waits for each other; e.mu is held.
func (e *Emitter) cutCycles(now time.Time) {
	for _, c := range e.order.cycleCuts(e.essential) {
		target := e.order.live[c.target]
		if target == nil || !c.node.waitsFor(c.target) {
			continue // an earlier cut has freed it
		}
		e.account.Cut++
		e.cfg.Log.Debug("objects refer to each other in a circle; one reference is left out",
			zap.String("object", c.node.object.ID), zap.String("reference", target.object.ID))
		if !e.without(c.node, []string{target.object.ID}) {
			e.account.Held++
			e.order.skip(c.node)
			c.node.settle()
		}
	}
	e.noteAge(now)
}

// essential reports whether n cannot be sent without its reference to target, or would be less protected without it.
func (e *Emitter) essential(n *node, target index.Key) bool {
	t := e.order.live[target]
	if t == nil {
		return false
	}
	if strings.HasPrefix(t.object.ID, "marking-definition--") {
		return true
	}
	if n.object.Type != "relationship" && n.object.Type != "sighting" {
		return false
	}
	if err := e.loadOne(n); err != nil {
		return true
	}
	_, ok := e.cfg.WithoutRefs(n.object, func(ref string) bool { return ref == t.object.ID })
	return !ok
}

// without takes references out of a parked node and places it when it waits for nothing else. It reports false, with the
// node as it was, when the node makes no sense without them.
func (e *Emitter) without(n *node, refs []string) bool {
	if err := e.loadOne(n); err != nil {
		e.cfg.Log.Warn("an object that waits on disk cannot be read; it is not sent", zap.String("object", n.object.ID), zap.Error(err))
		return false
	}
	cleaned, ok := e.cfg.WithoutRefs(n.object, func(ref string) bool { return slices.Contains(refs, ref) })
	if !ok {
		return false
	}
	e.order.parkedBytes += len(cleaned.JSON) - len(n.object.JSON)
	n.object, n.size, n.altered = cleaned, len(cleaned.JSON), true
	free := false
	for _, ref := range refs {
		free = n.stopWaiting(index.KeyOf(ref))
	}
	if free {
		e.order.unpark(n)
		e.order.place(n)
	}
	return true
}

// resolve ends the waiting: the run brings nothing more. What refers to objects that nothing brings is cleaned of these
// references or, where it makes no sense without them, held back; the disk remembers both, so that a later run that
// brings the object makes it good.
func (e *Emitter) resolve(ctx context.Context) error {
	for {
		e.mu.Lock()
		absent := e.order.absent(time.Time{})
		e.mu.Unlock()
		if found, err := e.reviveAbsent(ctx, absent); err != nil {
			return err
		} else if found {
			continue
		}
		if err := e.ask(ctx, absent); err != nil {
			return err
		}
		e.mu.Lock()
		var dropped []droppedNode
		if absent = e.order.absent(time.Time{}); len(absent) > 0 {
			dropped = e.cleanAll(absent)
		} else {
			e.cutCycles(time.Now())
		}
		e.noteAge(time.Now())
		e.mu.Unlock()
		if err := e.settleDropped(ctx, dropped); err != nil {
			return err
		}
		if err := e.send(ctx, false); err != nil {
			return err
		}
		e.mu.Lock()
		done := e.order.parked == 0
		e.mu.Unlock()
		if done {
			return nil
		}
	}
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

// settleDropped puts on disk what was not sent before its items are settled: after a crash in between they are fetched
// again.
func (e *Emitter) settleDropped(ctx context.Context, dropped []droppedNode) error {
	waiters := make([]index.Waiter, len(dropped))
	for i, d := range dropped {
		waiters[i] = d.waiter
	}
	if err := e.remember(ctx, waiters); err != nil && ctx.Err() != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, d := range dropped {
		d.node.settle()
	}
	return nil
}

// cleanAll takes the absent references out of what waits for them; e.mu is held. It returns what is not sent.
func (e *Emitter) cleanAll(absent []string) []droppedNode {
	missing := make(map[string]bool, len(absent))
	for _, ref := range absent {
		missing[ref] = true
	}
	var dropped []droppedNode
	for _, n := range e.order.waitingFor(missing) {
		refs := slices.DeleteFunc(slices.Clone(n.object.Refs), func(ref string) bool { return !missing[ref] })
		waiter, err := e.waiter(n, append(slices.Clone(n.removed), refs...))
		if err != nil {
			// Its item stays unsettled, so that it is fetched again.
			e.cfg.Log.Error("an object that waits on disk cannot be read and is not sent", zap.String("object", n.object.ID), zap.Error(err))
			e.order.skip(n)
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
	e.order.skip(n)
	return false
}

// noteAge starts the age of a batch that has begun; e.mu is held.
func (e *Emitter) noteAge(now time.Time) {
	if e.oldest.IsZero() && len(e.order.ready) > 0 {
		e.oldest = now
	}
}
