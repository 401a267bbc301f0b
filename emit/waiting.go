package emit

// How nodes that were parked stop waiting: placed, given a text without what they wait for, or left out.

import (
	"slices"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// release takes key off what waits for it and appends to work what then waits for nothing.
func (o *order) release(key index.Key, work []*node) []*node {
	list, found := o.waiting[key]
	if !found {
		return work
	}
	delete(o.waiting, key)
	for _, w := range list {
		if !w.waitsFor(key) {
			continue
		}
		o.open--
		if w.stopWaiting(key) {
			o.unpark(w)
			w.state = placed // at once, so that it is not released twice
			work = append(work, w)
		}
	}
	return work
}

// arrive releases what waits for an object that turned out to be delivered already.
func (o *order) arrive(key index.Key) {
	for _, n := range o.release(key, nil) {
		o.place(n)
	}
}

// replace gives a parked node a text without some of its references, and places it when it waits for nothing else.
func (o *order) replace(n *node, rest pipeline.Object, without []string, now time.Time) {
	had := among(slices.Clone(n.refs))
	if n.object.Stated.Author != 0 && rest.Stated.Author == 0 {
		n.said.Author, n.told.Author = 0, 0 // it goes without its author
	}
	if n.object.Stated.Markings != 0 && rest.Stated.Markings == 0 {
		n.said.Markings, n.told.Markings = 0, 0
	}
	o.parkedBytes += len(rest.JSON) - len(n.object.JSON)
	n.setObject(&rest)
	n.readRefs(o.keys)
	n.altered = true
	o.open -= n.waits.len()
	for i, ref := range rest.Refs {
		// A marking in place of one that nothing brings.
		if key := n.refs[i]; !had(key) && !o.known(ref, key) && !o.bringStandard(ref, key, now) {
			n.waits.add(key)
			o.waiting[key] = append(o.waiting[key], n)
		}
	}
	for _, ref := range without {
		n.stopWaiting(index.KeyOf(ref))
	}
	o.open += n.waits.len()
	o.stale += len(without)
	if n.waits.len() == 0 {
		o.unpark(n)
		o.place(n)
	}
}

// among tells whether something is in a list, which can have a hundred thousand.
func among[T comparable](list []T) func(T) bool {
	if len(list) <= fewWaits {
		return func(t T) bool { return slices.Contains(list, t) }
	}
	set := make(map[T]bool, len(list))
	for _, t := range list {
		set[t] = true
	}
	return func(t T) bool { return set[t] }
}

// unpark ends a node's waiting for whatever it still waits for.
func (o *order) unpark(n *node) {
	o.stale += n.waits.len()
	o.open -= n.waits.len()
	o.parked--
	o.parkedBytes -= len(n.object.JSON)
}

// skip ends the waiting of a parked node that is not sent in this run. Settling it is for the caller.
func (o *order) skip(n *node) {
	o.unpark(n)
	o.forget(n)
	if len(o.waiting[n.key]) > 0 && o.known(n.object.ID, n.key) {
		o.arrive(n.key) // what is to be added to it is added to the version before
	}
}

// letGo frees the memory of a text that the shelf holds.
func (o *order) letGo(n *node) {
	if n.state == parked {
		o.parkedBytes -= len(n.object.JSON)
	}
	n.object.JSON = nil
}

// sweep takes out of waiting what no longer waits, once that is most of it: what nothing ever brings would else list all
// that was sent without.
func (o *order) sweep() {
	if o.parked > 0 && o.stale <= max(1024, 2*o.parked) {
		return
	}
	o.stale = 0
	for key, list := range o.waiting {
		list = slices.DeleteFunc(list, func(n *node) bool { return !n.waitsFor(key) })
		if len(list) == 0 {
			delete(o.waiting, key)
		} else {
			o.waiting[key] = list
		}
	}
}
