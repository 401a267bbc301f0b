package emit

import (
	"slices"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// This file is about objects that a filter leaves out. The index remembers them, so that what refers to them goes without, and
// does not wait for what is never to come. Whoever is sent by another copy is not among them: one copy that passes is enough,
// unless another one of that version is marked too strictly. What a copy that is left out states as a marking counts all the same.

// LeadsToFiltered is the reason for which an emitter leaves relations out of which a filter has left out an end.
const LeadsToFiltered pipeline.Reason = "relation to what a filter leaves out"

// leaveOut takes note of a copy that a filter leaves out. It returns the node that is not sent for it, nil for none: settling
// that is for the caller. An object that has gone before, or is about to, gets the stricter marking at least.
func (o *order) leaveOut(dataset string, object *pipeline.Object, r *receipt, now time.Time) (dropped *node) {
	n := o.newNode(dataset, object)
	defer o.putBack(n)
	strict := object.Filtered == pipeline.TooStrict
	rec, found := o.index.Lookup(n.key)
	n.date(standingOf(rec), rec.Arrival, now)
	older := o.live[n.key]
	if strict && older != nil && older.standing().versus(n.standing()) <= 0 && (older.state == parked || older.state == asked) {
		if older.state == asked {
			o.believe(older)
			o.forget(older)
		} else {
			o.skip(older)
		}
		dropped, older = older, o.live[n.key]
	}
	switch {
	case older != nil:
		o.mark(n, older.standing(), older.said, r, now)
	case found && rec.Filtered == pipeline.Wanted && o.trust.asReference(rec) != disbelieved:
		o.mark(n, standingOf(rec), rec.Stated, r, now)
	default:
		o.noteFiltered(n, rec)
	}
	return dropped
}

// mark adds the marking of a copy that is not sent to what is of its version or an earlier one.
func (o *order) mark(n *node, sent standing, said pipeline.Stated, r *receipt, now time.Time) {
	if !o.tellsStricter(n, sent, said) {
		return
	}
	var receipts []*receipt
	if r != nil {
		receipts = []*receipt{r}
	}
	o.addParts(n, []pipeline.Part{pipeline.Markings}, receipts, now)
}

// tellsStricter says that a copy that is not sent states a marking that its version, or an earlier one, has to have.
func (o *order) tellsStricter(n *node, sent standing, said pipeline.Stated) bool {
	own := n.object.Stated
	return n.standing().versus(sent) >= 0 && own.Level > said.Level && own.Name == said.Name && !o.wasAdded(n, pipeline.Markings)
}

// noteFiltered lets the index know an object of which nothing is sent. What waits for it on disk is looked at anew.
func (o *order) noteFiltered(n *node, before index.Record) {
	rec := index.Record{
		Mark: index.Lost, Filtered: n.object.Filtered, Modified: n.microseconds(), Stated: pipeline.Stated{Level: n.object.Stated.Level},
		Run: o.run, Seq: 1, Day: o.trust.today, Kind: n.object.Kind, Arrival: n.arrival,
	}
	known := before.Filtered != pipeline.Wanted
	if known {
		rec.Mark = before.Mark // OpenCTI may hold it from others
	}
	if same := before.Filtered == rec.Filtered; known && (before.Filtered > rec.Filtered || same && before.Modified > rec.Modified) {
		rec.Filtered, rec.Modified, rec.Stated, rec.Arrival = before.Filtered, before.Modified, before.Stated, before.Arrival
	} else if known && before.Modified == rec.Modified {
		rec.Stated.Level = max(rec.Stated.Level, before.Stated.Level)
	}
	o.index.Put(n.key, rec)
	keys := []index.Key{n.key}
	if n.hasAlt() {
		o.index.Put(n.alt, rec)
		keys = append(keys, n.alt)
	}
	if !known {
		o.newlyPlaced = append(o.newlyPlaced, keys...)
	}
}

// isBarred says that a copy is not sent because another one of its version, or of a later one, is marked too strictly: that is what
// the index knows of it.
func (n *node) isBarred(rec index.Record) bool {
	return rec.Filtered == pipeline.TooStrict && n.standing().versus(standingOf(rec)) <= 0
}

// yieldToFiltered gives a copy the marking that others of its version have stated, of which nothing is sent.
func (o *order) yieldToFiltered(n *node, rec index.Record) {
	if n.standing().versus(standingOf(rec)) == 0 {
		o.yield(n, rec.Stated, pipeline.Stated{})
	}
}

// isFiltered says that nothing is known of an object but that a filter leaves it out.
func (o *order) isFiltered(id string) bool {
	key := index.KeyOf(id)
	rec, found := o.index.Lookup(key)
	return found && rec.Filtered != pipeline.Wanted && o.live[key] == nil
}

// leavesOut says that a parked node, whose text is loaded, makes no sense without what a filter leaves out.
func (r *resolver) leavesOut(n *node, refs []string) bool {
	if !slices.ContainsFunc(refs, r.order.isFiltered) {
		return false
	}
	gone := make(map[string]bool)
	for _, ref := range refs {
		gone[ref] = r.order.isFiltered(ref)
	}
	_, ok := r.mapping.withoutRefs(n.object, func(ref string) bool { return gone[ref] })
	return !ok
}

// leaveOut ends a parked node's way for good. What waits for it in turn goes without.
func (r *resolver) leaveOut(n *node) {
	if n.object.Type == "relationship" || n.object.Type == "sighting" {
		r.account.filtered.Add(1)
	}
	r.order.skip(n)
	if rec, found := r.order.index.Lookup(n.key); !isAddition(n.object.ID) && r.order.live[n.key] == nil && (!found || rec.Filtered != pipeline.Wanted) {
		left := *n
		left.object.Filtered = pipeline.Unwanted
		r.order.noteFiltered(&left, rec)
	}
	r.shelf.delivered(n)
}
