package emit

import (
	"slices"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// This file is about items of which nothing is new, where somebody judges each run by itself: see [Config.Anew]. Each run fetches
// some of them again, for it looks back to before the last one. Of an item that was delivered in part, as before a crash, all comes
// again.

// isUnchanged says that nothing of an item is sent, whole as it came before, for the sake of a run that is judged by itself.
func (e *Emitter) isUnchanged(objects []pipeline.Object, now time.Time) bool {
	if !e.cfg.Anew || e.cfg.EvenUnchanged {
		return false
	}
	e.order.trust.anew = false // what is asked is what would be sent otherwise
	defer func() { e.order.trust.anew = true }()
	return !slices.ContainsFunc(objects, func(object pipeline.Object) bool {
		_, fits := e.delivery.fits(&object)
		return fits && !e.order.hadAll(&object, e.shelf, now)
	})
}

// hadAll says that an object was delivered in the version of this copy or a later one with all that the copy states, or that it is
// not sent for good reason.
func (o *order) hadAll(object *pipeline.Object, s *shelf, now time.Time) bool {
	n := o.newNode("", object)
	defer o.putBack(n)
	rec, found := o.index.Lookup(n.key)
	n.date(standingOf(rec), rec.Arrival, now)
	switch {
	case object.Filtered != pipeline.Wanted:
		return !found || rec.Filtered != pipeline.Wanted || !o.tellsStricter(n, standingOf(rec), rec.Stated)
	case !found:
		return s.holdsBack(n.object.ID, n)
	case rec.Filtered != pipeline.Wanted:
		return n.isBarred(rec) || rec.Modified == n.microseconds() && slices.ContainsFunc(object.Refs, o.isFiltered)
	}
	return o.isDelivered(n, rec, s) || s.holdsBack(n.object.ID, n)
}

// isDelivered says that a record stands for a node's content, or for one that counts in its place, and that nothing is to be added.
func (o *order) isDelivered(n *node, rec index.Record, s *shelf) bool {
	v, same := n.standing().versus(standingOf(rec)), rec.Digest == n.object.Digest
	switch {
	case o.trust.asSent(rec) != believed || v > 0:
		return false
	case v == 0 && same && rec.Cut != 0:
		return rec.Cut == o.missingNow(n) // what it went without waits on the shelf
	case v == 0 && !same && !n.object.Weak:
		if _, seen := o.index.Lookup(variantKey(n.object.ID, n.object.Digest)); !seen {
			return false
		}
	}
	return !o.addsMore(n, rec, s)
}

// missingNow is what [node.cut] would be if the node went at once.
func (o *order) missingNow(n *node) uint32 {
	n.readRefs(o.keys)
	return cutOf(n.refsWith(func(key index.Key) bool {
		rec, found := o.index.Lookup(key)
		held := found && o.trust.asReference(rec) != disbelieved // OpenCTI is not asked for the sake of this
		return key != n.alt && o.live[key] == nil && !held
	}))
}

// addsMore says that a copy states what was neither delivered with its object nor added to it, and can be.
func (o *order) addsMore(n *node, rec index.Record, s *shelf) bool {
	return slices.ContainsFunc(o.untold(rec, n, n.standing().versus(standingOf(rec)) == 0), func(part pipeline.Part) bool {
		id := o.mapping.AdditionID(n.object.ID, part, n.object.Stated)
		added, found := o.index.Lookup(index.KeyOf(id))
		ofAnyVersion := part == pipeline.Labels || part == pipeline.References
		told := found && ofAnyVersion && o.trust.asSent(added) == believed
		return !told && !s.holdsBack(id, n)
	})
}

// holdsBack says that a node, or an addition to it of another id, waits on the shelf for what nothing has brought, and goes by itself
// when something does.
func (s *shelf) holdsBack(id string, n *node) bool {
	if modified, there := s.store.Modified(id); !there || !modified.Equal(n.object.Modified) {
		return false
	}
	w, there, err := s.store.Get(id)
	same := id != n.object.ID || w.Object.Digest == n.object.Digest
	return err == nil && there && w.Kind == index.HeldBack && same
}
