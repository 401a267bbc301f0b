package emit

import (
	"slices"
	"strconv"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// order decides when an object may go. It does no I/O and is not safe for concurrent use.
//
// Invariants:
//   - live holds the newest version of every object that was taken over and is not delivered yet, under its id and its
//     second id; delivered objects are in the index.
//   - A node is placed after everything that it refers to was placed or delivered. ready lists placed nodes in that
//     order, so any prefix of it may be sent.
//   - A parked node's waits is never empty, and the node stands in waiting[k] for each k of it. waiting may also list
//     nodes that no longer wait for k: who reads it asks waitsFor.
//   - What is waited for is neither placed nor delivered.
type order struct {
	index   Index
	run     uint32
	live    map[index.Key]*node
	waiting map[index.Key][]*node
	ready   []*node
	// released is called for each placed node, so that what an earlier run held back for it can follow.
	released func(*node)

	readyBytes  int // of JSON of the ready nodes
	parked      int
	parkedBytes int // of JSON held in memory
	// entangled counts nodes that were parked while others waited for them: only these can close a cycle.
	entangled   int
	parkedSince int // nodes parked since cycles were last looked for
	stale       int // entries of waiting that came to nothing since it was last swept, at most
}

func newOrder(x Index, run uint32, released func(*node)) *order {
	return &order{
		index: x, run: run, released: released,
		live: make(map[index.Key]*node), waiting: make(map[index.Key][]*node),
	}
}

// verdict is what became of an object that was handed to the order.
type verdict uint8

const (
	accepted  verdict = iota // placed or parked
	repeated                 // this version is on its way already
	delivered                // this version, or a newer one, was delivered before
)

// add takes an object over. The receipt is settled with the object, unless it was delivered before. incomplete says that
// what this run has sent of this version may lack references that the object here has.
func (o *order) add(dataset string, object pipeline.Object, r *receipt, now time.Time, incomplete bool) verdict {
	n := newNode(dataset, object)
	older := o.live[n.key]
	if older != nil {
		if !object.Modified.After(older.object.Modified) {
			if object.Modified.Equal(older.object.Modified) && object.Digest != older.digestOf {
				o.passOver(object)
			}
			older.attach(r)
			return repeated
		}
	} else if rec, found := o.index.Lookup(n.key); found && o.superseded(object, rec, incomplete) {
		return delivered
	}
	n.attach(r)
	if older != nil {
		o.supersede(older, n)
	}
	o.live[n.key] = n
	if n.alt != (index.Key{}) {
		o.live[n.alt] = n
	}
	o.enter(n, now)
	return accepted
}

// superseded reports whether an object need not be sent, given what was last delivered under its id: the same content,
// an older version, or (within a run) the same version: of copies of one version that differ the first counts, in this
// run and in those after it.
func (o *order) superseded(object pipeline.Object, rec index.Record, incomplete bool) bool {
	if rec.Digest == object.Digest {
		return true
	}
	var modified int64
	if !object.Modified.IsZero() {
		modified = object.Modified.UnixMicro()
	}
	if modified != 0 && modified < rec.Modified {
		return true
	}
	if modified != rec.Modified || incomplete {
		return false
	}
	if rec.Run != o.run {
		_, found := o.index.Lookup(variantKey(object))
		return found
	}
	if rec.Seq&wasIncomplete == 0 {
		o.passOver(object)
	}
	return true
}

// passOver remembers a copy that differs from the one of the same version that is sent in this run. Else each of the two
// would look like a change of the other in every run to come.
func (o *order) passOver(object pipeline.Object) {
	o.index.Put(variantKey(object), index.Record{Digest: object.Digest, Run: o.run, Seq: 1})
}

// variantKey stands for one content of an object; no id has a line break.
func variantKey(object pipeline.Object) index.Key {
	return index.KeyOf(object.ID + "\n" + strconv.FormatUint(object.Digest, 16))
}

// supersede lets a newer version take the place of one that is still here: a parked one is forgotten, one that is on
// its way goes before the newer.
func (o *order) supersede(older, newer *node) {
	if older.state == parked {
		older.hand(newer)
		o.unpark(older)
		older.state = gone
		older.object.JSON = nil // waiting may list the node for a while
		newer.older = older.older
		if o.live[older.alt] == older {
			delete(o.live, older.alt) // the newer version may have another one, or none
		}
		return
	}
	newer.older = older
}

// enter places a node or parks it until what it refers to has been placed.
func (o *order) enter(n *node, now time.Time) {
	n.waits = waits{}
	for _, ref := range n.object.Refs {
		key := index.KeyOf(ref)
		if key == n.alt || o.known(key) {
			continue
		}
		n.waits.add(key)
		o.waiting[key] = append(o.waiting[key], n)
	}
	if n.waits.len() == 0 {
		o.place(n)
		return
	}
	n.state, n.parkedAt = parked, now
	n.park()
	o.parked++
	o.parkedSince++
	o.parkedBytes += len(n.object.JSON)
	if len(o.waiting[n.key]) > 0 || len(o.waiting[n.alt]) > 0 {
		o.entangled++
	}
}

// known reports whether what has the id is delivered or goes before anything placed from now on.
func (o *order) known(key index.Key) bool {
	if n := o.live[key]; n != nil {
		if n.state == placed || n.older != nil {
			return true
		}
		// A newer version waits; the one delivered before serves as well.
	}
	_, found := o.index.Lookup(key)
	return found
}

// place appends a node to ready, and after it whatever waited for it alone.
func (o *order) place(n *node) {
	work := []*node{n}
	for len(work) > 0 {
		n, work = work[0], work[1:]
		n.state = placed
		n.waits = waits{}
		n.sequence = o.sequence(n)
		o.ready = append(o.ready, n)
		o.readyBytes += n.size
		work = o.release(n.key, work)
		if n.alt != (index.Key{}) {
			work = o.release(n.alt, work)
		}
		o.released(n)
	}
}

// release takes key off what waits for it and appends to work what then waits for nothing.
func (o *order) release(key index.Key, work []*node) []*node {
	list, found := o.waiting[key]
	if !found {
		return work
	}
	delete(o.waiting, key)
	for _, w := range list {
		if w.waitsFor(key) && w.stopWaiting(key) {
			o.unpark(w)
			w.state = placed // at once, so that it is not released twice
			work = append(work, w)
		}
	}
	return work
}

// letGo frees the memory of a text that the disk holds.
func (o *order) letGo(n *node) {
	if n.state == parked {
		o.parkedBytes -= len(n.object.JSON)
	}
	n.object.JSON = nil
}

// unpark ends a node's waiting for whatever it still waits for.
func (o *order) unpark(n *node) {
	o.stale += n.waits.len()
	o.parked--
	o.parkedBytes -= len(n.object.JSON)
}

// sequence is 1 and the sum of the sequences of what the node refers to: how OpenCTI counts dependencies.
func (o *order) sequence(n *node) int64 {
	sum := int64(1)
	for _, ref := range n.object.Refs {
		key := index.KeyOf(ref)
		target := o.live[key]
		for target != nil && target.state != placed {
			target = target.older // a newer version waits; this one serves
		}
		if target != nil {
			sum = addSequence(sum, target.sequence)
		} else if rec, found := o.index.Lookup(key); found {
			sum = addSequence(sum, max(1, int64(rec.Seq&^wasIncomplete)))
		}
	}
	return sum
}

// forget ends a node's way: it was delivered, or is not sent in this run. Settling it is for the caller.
func (o *order) forget(n *node) {
	n.state = gone
	for _, key := range []index.Key{n.key, n.alt} {
		switch {
		case o.live[key] != n:
		case n.older != nil && n.older.state == placed:
			o.live[key] = n.older // still on its way
		default:
			delete(o.live, key)
		}
	}
	n.older = nil
}

// take cuts the next batch of at most count nodes and about so many bytes, sorted so that what others refer to lies as
// far ahead of them as the batch allows.
func (o *order) take(count, bytes, number int) []*node {
	batch := make([]*node, 0, min(count, len(o.ready)))
	total := 0
	for _, n := range o.ready {
		if len(batch) == count || (len(batch) > 0 && total+n.size > bytes) {
			break
		}
		total += n.size
		n.batch = number
		n.level = o.level(n, number)
		batch = append(batch, n)
	}
	o.readyBytes -= total
	clear(o.ready[:len(batch)])
	o.ready = o.ready[len(batch):]
	if len(o.ready) == 0 {
		o.ready = nil // lets go of a large backing array
	}
	return sortByLevel(batch)
}

func (o *order) level(n *node, batch int) int {
	level := 0
	if n.older != nil && n.older.batch == batch {
		level = n.older.level + 1
	}
	for _, ref := range n.object.Refs {
		for t := o.live[index.KeyOf(ref)]; t != nil; t = t.older {
			if t.batch == batch && t.state == placed && t != n {
				level = max(level, t.level+1)
			}
		}
	}
	return level
}

// sortByLevel is a counting sort: stable, and linear also for a chain as deep as the batch.
func sortByLevel(batch []*node) []*node {
	deepest := 0
	for _, n := range batch {
		deepest = max(deepest, n.level)
	}
	starts := make([]int, deepest+2)
	for _, n := range batch {
		starts[n.level+1]++
	}
	for i := 1; i < len(starts); i++ {
		starts[i] += starts[i-1]
	}
	sorted := make([]*node, len(batch))
	for _, n := range batch {
		sorted[starts[n.level]] = n
		starts[n.level]++
	}
	return sorted
}

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
	var refs []string
	for _, ref := range n.object.Refs {
		if key := index.KeyOf(ref); n.waitsFor(key) && o.live[key] == nil {
			refs = append(refs, ref)
		}
	}
	return refs
}

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
	visit := func(n *node) {
		if n != nil && n.state == parked && !seen[n] {
			seen[n] = true
			reached = append(reached, n)
		}
	}
	for _, n := range nodes {
		visit(n)
	}
	for i := 0; i < len(reached); i++ {
		for key := range reached[i].waits.all() {
			visit(o.live[key])
		}
	}
	return reached
}

// longestParked lists so many of the parked nodes, those that have waited longest first.
func (o *order) longestParked(count int) []*node {
	nodes := o.parkedNodes()
	slices.SortStableFunc(nodes, func(a, b *node) int { return a.parkedAt.Compare(b.parkedAt) })
	return nodes[:min(max(count, 0), len(nodes))]
}

// arrive releases what waits for an object that turned out to be delivered already.
func (o *order) arrive(key index.Key) {
	for _, n := range o.release(key, nil) {
		o.place(n)
	}
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

// skip ends the waiting of a parked node that is not sent in this run. Settling it is for the caller.
func (o *order) skip(n *node) {
	o.unpark(n)
	o.forget(n)
}

// missingRefs lists the references that a parked node waits for.
func missingRefs(n *node) []string {
	return slices.DeleteFunc(slices.Clone(n.object.Refs), func(ref string) bool {
		return !n.waitsFor(index.KeyOf(ref))
	})
}
