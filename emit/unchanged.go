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
		return s.holdsBack(n)
	case rec.Filtered != pipeline.Wanted:
		return n.isBarred(rec) || rec.Modified == n.microseconds() && slices.ContainsFunc(object.Refs, o.isFiltered)
	}
	return o.isDelivered(n, rec) && !o.addsMore(n, rec) || s.holdsBack(n)
}

// isDelivered says that a record stands for a node's content, or for one that counts in its place.
func (o *order) isDelivered(n *node, rec index.Record) bool {
	v := n.standing().versus(standingOf(rec))
	switch {
	case o.trust.asSent(rec) != believed || v > 0:
		return false
	case v < 0 || n.object.Weak:
		return true
	case rec.Digest == n.object.Digest:
		return rec.Cut == 0 || rec.Cut == o.missingNow(n)
	}
	_, seen := o.index.Lookup(variantKey(n.object.ID, n.object.Digest))
	return seen
}

// missingNow is what [node.cut] would be if the node went at once.
func (o *order) missingNow(n *node) uint32 {
	n.readRefs(o.keys)
	return cutOf(n.refsWith(func(key index.Key) bool {
		return key != n.alt && !o.known("", key)
	}))
}

// addsMore says that a copy states what was neither delivered with its object nor added to it.
func (o *order) addsMore(n *node, rec index.Record) bool {
	return slices.ContainsFunc(o.untold(rec, n, n.standing().versus(standingOf(rec)) == 0), func(part pipeline.Part) bool {
		added, found := o.index.Lookup(index.KeyOf(o.mapping.AdditionID(n.object.ID, part, n.object.Stated)))
		ofAnyVersion := part == pipeline.Labels || part == pipeline.References
		return !found || !ofAnyVersion || o.trust.asSent(added) != believed
	})
}

// holdsBack says that an object waits on the shelf for what nothing has brought, and goes by itself when something does.
func (s *shelf) holdsBack(n *node) bool {
	if modified, there := s.store.Modified(n.object.ID); !there || !modified.Equal(n.object.Modified) {
		return false
	}
	w, there, err := s.store.Get(n.object.ID)
	return err == nil && there && w.Kind == index.HeldBack && w.Object.Digest == n.object.Digest
}
