package emit

import (
	"context"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/state/index"
)

// resolver ends the waiting of parked objects that nothing will free. References that nothing has brought are cleaned
// away, cycles are cut, and what makes no sense without is held back; the shelf remembers both, so that what brings the
// object makes it good.
type resolver struct {
	order   *order
	shelf   *shelf
	inquiry *inquiry
	mapping *guard
	account *counters
	log     *zap.Logger
	loose   int // bytes of texts that have lost references since what is full was sent, and noted

	// tried holds the ids that are not taken up from the shelf again in this run because something refers to them: that
	// was done before, or would change nothing.
	tried map[index.Key]bool
}

// triedMost bounds that memory: some 8 MB. Beyond, nothing is taken up any more because something refers to it, which goes
// without then, and again once what it refers to goes.
const triedMost = 200_000

// try notes that an id is not taken up again, and reports whether it may be taken up this once.
func (r *resolver) try(key index.Key) bool {
	if r.tried[key] || len(r.tried) >= triedMost {
		return false
	}
	r.tried[key] = true
	return true
}

// endAbsent frees parked nodes of the references that nothing brings, and reports whether there were any.
func (r *resolver) endAbsent(ctx context.Context, nodes []*node) (progress bool, err error) {
	// What is held back is missing to others in turn: they follow at once, so that a long chain of relations is not
	// looked through from its beginning for each.
	for len(nodes) > 0 {
		absent := r.order.absentOf(nodes)
		if len(absent) == 0 {
			break
		}
		progress = true
		if err := r.look(ctx, absent, nodes); err != nil {
			return progress, err
		}
		left, err := r.cleanAll(ctx, nodes)
		if err != nil {
			return progress, err
		}
		nodes = nil
		for _, n := range left {
			r.try(n.key)
			nodes = append(nodes, r.order.waitersOf(n)...)
		}
	}
	return progress, nil
}

// look takes up what the shelf has of absent objects, and asks OpenCTI for the rest, and for the nodes where need be.
func (r *resolver) look(ctx context.Context, absent []string, nodes []*node) error {
	found := false
	for _, id := range absent {
		if !r.shelf.store.Has(id) || !r.try(index.KeyOf(id)) {
			continue
		}
		found = true // what it waited for may be about to go
		if err := r.shelf.takeUpOne(ctx, id); err != nil {
			return err
		}
	}
	if found {
		absent = r.order.absentOf(nodes)
	}
	// Cleaned, a node may be just what OpenCTI has, if it still has that.
	for _, n := range nodes {
		if rec, found := r.order.index.Lookup(n.key); found && n.state == parked && r.order.trust.asSent(rec) == uncertain {
			r.order.doubts = append(r.order.doubts, n.object.ID)
		}
	}
	return r.inquiry.settle(ctx, absent)
}

// cleanAll takes the references that nothing has brought out of parked nodes. It returns those that are not sent, of which the shelf
// has taken note.
func (r *resolver) cleanAll(ctx context.Context, nodes []*node) (left []*node, err error) {
	slices.SortFunc(nodes, byID)
	// First of all nodes, so that it does not depend on the order whether one that is held back counts as brought.
	absent := make([][]string, len(nodes))
	for i, n := range nodes {
		// What is doubtful is unknown, which is not absent.
		absent[i] = n.refsWith(func(key index.Key) bool { return r.order.isAbsent(n, key) && !r.order.isDoubtful(key) })
	}
	var omissions []omission
	for i, n := range nodes {
		if len(absent[i]) == 0 || n.state != parked {
			continue
		}
		size := n.footprint()
		if o := r.clean(n, absent[i]); o != nil {
			if left = append(left, n); len(o.waiter.Missing) > 0 {
				omissions = append(omissions, *o)
			}
		}
		if passes, err := r.passOn(ctx, size, omissions); err != nil {
			return nil, err
		} else if passes {
			omissions = nil
		}
	}
	return left, r.shelf.note(ctx, omissions)
}

// passOn is called for each text that has lost references, of a footprint: it is in memory, and so is the whole one, until it is sent and
// the shelf has taken note. Once that is a batch's worth it sees to both, also for what is not sent, and reports so.
func (r *resolver) passOn(ctx context.Context, size int, omissions []omission) (passes bool, err error) {
	if r.loose += size; r.loose < r.shelf.atOnce {
		return false, nil
	}
	r.loose = 0
	if err := r.shelf.note(ctx, omissions); err != nil {
		return true, err
	}
	if err := r.shelf.sendFull(ctx); err != nil {
		return true, err
	}
	return true, r.shelf.tidy(ctx, false)
}

// clean takes references out of a node. It returns what the shelf has to note of one that is not sent: because it makes no
// sense without them, or because the platform has it in just this form. One that misses nothing that could come is done with.
func (r *resolver) clean(n *node, refs []string) *omission {
	// What a filter leaves out nothing brings any more.
	waiter, err := r.shelf.waiter(n, slices.DeleteFunc(slices.Concat(n.removed(), refs), r.order.isFiltered), index.Cleaned)
	if err != nil {
		r.leaveUnread(n, err)
		return nil
	}
	if r.leavesOut(n, refs) {
		r.debug("a relation is left out, for a filter leaves out what it leads to", n, refs)
		r.leaveOut(n)
		return &omission{node: n, waiter: &index.Waiter{}}
	}
	n.lose(refs, &waiter.Object)
	if rec, found := r.order.index.Lookup(n.key); found && rec.Digest == n.object.Digest && rec.Cut == n.cut() && rec.Modified == n.microseconds() && r.order.trust.asSent(rec) == believed {
		r.account.known.Add(1)
		r.order.skip(n)
		if len(waiter.Missing) == 0 {
			n.lost.noted = nil
			r.shelf.delivered(n)
		}
		return &omission{node: n, waiter: waiter}
	}
	if r.without(n, refs) {
		r.account.cleaned.Add(1)
		r.debug("an object is sent without references that nothing brings, and once more when something does", n, refs)
		if n.lost.noted = waiter; len(waiter.Missing) == 0 {
			n.lost.noted = nil
		}
		return nil
	}
	r.debug("an object is held back until something brings what it cannot be sent without", n, refs)
	r.try(n.key) // nothing is to take it up again in this run but what it waits for
	return r.holdBack(n, waiter)
}

// debug tells of a node and references of it where somebody listens: it can be all objects of a run.
func (r *resolver) debug(what string, n *node, refs []string) {
	if entry := r.log.Check(zap.DebugLevel, what); entry != nil {
		entry.Write(zap.String("object", n.object.ID), zap.Strings("references", refs))
	}
}

// holdBack ends a node's way through this run. The shelf has to note it before its items are settled.
func (r *resolver) holdBack(n *node, waiter *index.Waiter) *omission {
	waiter.Kind = index.HeldBack
	r.account.held.Add(1)
	r.order.skip(n)
	return &omission{node: n, waiter: waiter}
}

// without takes references out of a parked node, whose text is loaded, and places it when it waits for nothing else. It
// reports false, with the node as it was, when the node makes no sense without them.
func (r *resolver) without(n *node, refs []string) bool {
	rest, ok := r.mapping.withoutRefs(n.object, among(refs))
	if ok {
		r.order.replace(n, rest, refs, time.Now())
	}
	return ok
}

// leaveUnread gives up a parked node in this run that the shelf does not give back. Its item stays unsettled, so that it
// is fetched again.
func (r *resolver) leaveUnread(n *node, err error) {
	r.log.Error("an object that waits on disk cannot be read and is not sent; its item is fetched again", zap.String("object", n.object.ID), zap.Error(err))
	r.order.skip(n)
}

// cutCycles frees what waits for each other and reports whether there was such a thing.
func (r *resolver) cutCycles(ctx context.Context) (progress bool, err error) {
	// All cuts of an object at once: one that refers to a hundred thousand others is not written anew for each.
	var nodes []*node
	targets := make(map[*node]map[*node]bool)
	for _, c := range r.order.cycleCuts(r.essential) {
		if targets[c.node] == nil {
			nodes = append(nodes, c.node)
			targets[c.node] = make(map[*node]bool)
		}
		targets[c.node][c.target] = true
	}
	for _, n := range nodes {
		size := n.footprint()
		r.cut(n, targets[n])
		if _, err := r.passOn(ctx, size, nil); err != nil {
			return true, err
		}
	}
	return len(nodes) > 0, nil
}

// cut takes a node's references to some others away, as far as it still waits for them.
func (r *resolver) cut(n *node, targets map[*node]bool) {
	// What it does not wait for any more an earlier cut has freed.
	refs := n.refsWith(func(key index.Key) bool { return n.waitsFor(key) && targets[r.order.live[key]] })
	if len(refs) == 0 {
		return
	}
	if err := r.shelf.load(n); err != nil {
		r.leaveUnread(n, err)
		return
	}
	r.account.cut.Add(int64(len(refs)))
	r.log.Debug("objects refer to each other in a circle; references are left out",
		zap.String("object", n.object.ID), zap.Int("count", len(refs)), zap.Strings("references", refs[:min(10, len(refs))]))
	if r.without(n, refs) {
		return
	}
	// A newer version of what it cannot do without can open the circle; nothing else is to bring it back into this one.
	r.try(n.key)
	missing := slices.DeleteFunc(slices.Clone(refs), func(ref string) bool { return !r.essential(n, r.order.live[index.KeyOf(ref)]) })
	if len(missing) == 0 {
		missing = refs
	}
	waiter, err := r.shelf.waiter(n, missing, index.HeldBack)
	if err != nil {
		r.leaveUnread(n, err)
		return
	}
	r.shelf.owe(*r.holdBack(n, waiter))
}

// essential reports whether n cannot be sent without its reference to t, or would be less protected without it.
func (r *resolver) essential(n, t *node) bool {
	if strings.HasPrefix(t.object.ID, "marking-definition--") {
		return true
	}
	if n.object.Type != "relationship" && n.object.Type != "sighting" {
		return false
	}
	if err := r.shelf.load(n); err != nil {
		return true
	}
	_, ok := r.mapping.withoutRefs(n.object, func(ref string) bool {
		return ref == t.object.ID || (ref == t.object.AltID && ref != "")
	})
	r.shelf.ease(n)
	return !ok
}
