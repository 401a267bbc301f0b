package emit

import (
	"cmp"
	"slices"
	"time"

	"github.com/opencti-connectors/threatmatch/state/index"
)

// This file answers who waits for whom, and for what.

// parkedNodes lists all parked nodes, each once.
func (o *order) parkedNodes() []*node {
	return o.parkedBy(byID)
}

func (o *order) parkedBy(compare func(a, b *node) int) []*node {
	nodes := make([]*node, 0, o.parked)
	for key, n := range o.live {
		if n.state == parked && n.key == key {
			nodes = append(nodes, n)
		}
	}
	slices.SortFunc(nodes, compare)
	return nodes
}

func byID(a, b *node) int { return cmp.Compare(a.object.ID, b.object.ID) }

// absent lists the references that nodes parked before a moment wait for and that no live object answers, sorted.
func (o *order) absent(before time.Time) []string {
	// One waiter for each key is enough, and tells of all that it waits for at once.
	asked := make(map[*node]bool)
	covered := make(map[index.Key]bool)
	var waiters []*node
	for key, list := range o.waiting {
		if o.live[key] != nil || covered[key] {
			continue
		}
		for _, n := range list {
			if !n.waitsFor(key) || n.parkedAt.After(before) {
				continue
			}
			if !asked[n] {
				asked[n] = true
				waiters = append(waiters, n)
				for k := range n.waits.all() {
					covered[k] = true
				}
			}
			break
		}
	}
	return o.absentOf(waiters)
}

// absentOf lists the references that any of the nodes waits for and that no live object answers, sorted, each once.
func (o *order) absentOf(nodes []*node) []string {
	var refs []string
	for _, n := range nodes {
		refs = append(refs, o.absentRefs(n)...)
	}
	slices.Sort(refs)
	return slices.Compact(refs)
}

// absentRefs lists the references that a node waits for and that no live object answers.
func (o *order) absentRefs(n *node) []string {
	return n.refsWith(func(key index.Key) bool { return o.isAbsent(n, key) })
}

// isAbsent says that a node waits for something that no live object answers.
func (o *order) isAbsent(n *node, key index.Key) bool { return n.waitsFor(key) && o.live[key] == nil }

// waitersOf lists the nodes that wait for a node, each once.
func (o *order) waitersOf(n *node) []*node {
	seen := make(map[*node]bool)
	var waiters []*node
	for _, key := range []index.Key{n.key, n.alt} {
		for _, w := range o.waiting[key] {
			if w.waitsFor(key) && !seen[w] {
				seen[w] = true
				waiters = append(waiters, w)
			}
		}
	}
	return waiters
}

// leadsTo lists the nodes that are parked and what they wait for, directly or not, as far as it is parked too and not in
// seen; it puts them there.
func (o *order) leadsTo(nodes []*node, seen map[*node]bool) []*node {
	var reached []*node
	reach := func(n *node) {
		if n != nil && n.state == parked && !seen[n] {
			seen[n] = true
			reached = append(reached, n)
		}
	}
	for _, n := range nodes {
		reach(n)
	}
	for i := 0; i < len(reached); i++ {
		for key := range reached[i].waits.all() {
			reach(o.live[key])
		}
	}
	return reached
}

// longestParked lists those of the parked nodes that have waited longest, at least so many, which wait for so much.
func (o *order) longestParked(count, refs int) []*node {
	nodes := o.parkedBy(func(a, b *node) int { return cmp.Or(a.parkedAt.Compare(b.parkedAt), byID(a, b)) })
	for i, n := range nodes {
		if i >= count && refs <= 0 {
			return nodes[:i]
		}
		refs -= n.waits.len()
	}
	return nodes
}
