package emit

import (
	"slices"
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
//   - What is waited for is neither placed nor believed to be delivered.
type order struct {
	index   Index
	trust   *trust
	run     uint32
	live    map[index.Key]*node
	waiting map[index.Key][]*node
	ready   []*node
	spare   *node // empty, used again for the next object
	keys    *keyring
	// newlyPlaced lists what was placed since takeNewlyPlaced: what the shelf holds back for it can follow.
	newlyPlaced []index.Key

	// doubts lists ids of which the index is not sure since takeDoubts: OpenCTI has to be asked.
	doubts []string

	mapping  *guard
	outvoted []outvoted
	late     []objectVersion // additions that are not sent any more
	promised map[index.Key]promise

	readyBytes  int // of JSON of the ready nodes
	asked       int // nodes of which the index is not sure
	askedBytes  int // of their JSON
	parked      int
	parkedBytes int // of JSON held in memory
	open        int // what parked nodes wait for, each for itself
	// entangled counts nodes that were parked while others waited for them: only these can close a cycle.
	entangled   int
	parkedSince int // nodes parked since cycles were last looked for
	stale       int // entries of waiting that came to nothing since it was last swept, at most
}

func newOrder(x Index, t *trust, m *guard, run uint32) *order {
	return &order{index: x, trust: t, mapping: m, run: run, keys: newKeyring(), live: make(map[index.Key]*node), waiting: make(map[index.Key][]*node), promised: make(map[index.Key]promise)}
}

// verdict is what became of an object that was handed to the order.
type verdict uint8

const (
	accepted   verdict = iota // placed or parked
	repeated                  // this version is on its way already
	delivered                 // this version, or a newer one, was delivered by an earlier run
	confirmed                 // likewise, by this run
	questioned                // likewise, but OpenCTI has to be asked whether it still holds it
	filtered                  // a filter leaves its version out
)

// add takes an object over. The receipt is settled with the object, unless it was delivered before. incomplete says that
// what this run has sent of this version may lack references that the object here has.
func (o *order) add(dataset string, object *pipeline.Object, r *receipt, now time.Time, incomplete bool) verdict {
	n := o.newNode(dataset, object)
	n.attach(r)
	v := o.judge(n, now, incomplete)
	if v != accepted && v != questioned {
		o.putBack(n)
	}
	return v
}

// newNode returns the node of an object. Most objects are copies of an author or a marking that need no other, and go by what is
// known of them: they take turns with one node.
func (o *order) newNode(dataset string, object *pipeline.Object) *node {
	n := o.spare
	if n == nil {
		n = new(node)
	}
	o.spare = nil
	n.begin(dataset, object, o.keys)
	return n
}

// putBack takes back a node that nobody knows of.
func (o *order) putBack(n *node) {
	*n = node{}
	o.spare = n
}

// judge lets a node go its way, unless it need not.
func (o *order) judge(n *node, now time.Time, incomplete bool) verdict {
	older := o.live[n.key]
	rec, found := o.index.Lookup(n.key)
	if older == nil && n.isBarred(rec) {
		n.settle()
		return filtered
	}
	if older != nil && o.joins(n, older, now) {
		return repeated
	}
	sent := disbelieved
	if older == nil || older.state == asked {
		var by uint32
		if sent, by = o.sentBefore(n, rec, found, now, incomplete); sent == believed && by == o.run {
			return confirmed
		} else if sent == believed {
			return delivered
		}
	} else {
		n.renews = older.renews || older.state == placed
	}
	if older != nil {
		o.supersede(older, n)
	}
	o.live[n.key] = n
	if n.hasAlt() {
		o.live[n.alt] = n
	}
	if sent == uncertain {
		o.doubt(n)
		return questioned
	}
	o.enter(n, now)
	if n.state == parked {
		o.noteParked(n)
	}
	return accepted
}

// sentBefore says whether a node need not be sent for what was delivered before, which is what the index knows, and by which run, and
// takes note of what its copy has to add.
func (o *order) sentBefore(n *node, rec index.Record, found bool, now time.Time, incomplete bool) (sent belief, run uint32) {
	if rec.Filtered != pipeline.Wanted { // nothing was sent
		o.yieldToFiltered(n, rec)
		rec, found = index.Record{}, false
	}
	n.date(standingOf(rec), rec.Arrival, now)
	switch {
	case !found && n.object.Weak && !o.trust.blind:
		return uncertain, 0 // another connector may know more of it
	case !found:
		return disbelieved, 0
	case !o.superseded(n, rec, incomplete):
		o.outdo(n, rec)
		return disbelieved, 0
	}
	sent = o.trust.asSent(rec)
	if sent == believed {
		o.addToDelivered(n, rec, now)
	} else {
		n.learn(rec)
		o.yieldTo(n, rec)
	}
	return sent, rec.Run
}

// joins reports whether a node need not go itself, because a copy that is under way has the last word.
func (o *order) joins(n, older *node, now time.Time) bool {
	n.date(older.standing(), older.arrival, now)
	sameVersion := n.standing().versus(older.standing()) == 0
	if n.standing().compare(older.standing()) > 0 {
		if sameVersion {
			o.passOver(n.object.ID, older.object.Digest)
			o.yieldToFirst(n)
		}
		return false
	}
	if sameVersion && n.object.Digest != older.object.Digest {
		o.passOver(n.object.ID, n.object.Digest)
	}
	o.addParts(n, o.takeMoreThan(older, n, sameVersion), n.claims.list, now)
	n.hand(older)
	return true
}

// addToDelivered takes note of a copy of what was delivered before.
func (o *order) addToDelivered(n *node, rec index.Record, now time.Time) {
	sameVersion := n.standing().versus(standingOf(rec)) == 0
	if sameVersion && n.object.Digest != rec.Digest {
		o.passOver(n.object.ID, n.object.Digest)
	}
	o.addParts(n, o.untold(rec, n, sameVersion), n.claims.list, now)
	n.settle()
}

// outdo lets a node go after what was delivered under its id.
func (o *order) outdo(n *node, rec index.Record) {
	n.learn(rec)
	if n.standing().versus(standingOf(rec)) == 0 && rec.Digest != n.object.Digest {
		o.passOver(n.object.ID, rec.Digest)
		o.yieldTo(n, rec)
	}
}

// supersede lets a newer version take the place of one that is still here: a parked one is forgotten, one that is on
// its way goes before the newer.
func (o *order) supersede(older, newer *node) {
	if older.state == parked || older.state == asked {
		newer.past, newer.pastUntil = older.past, older.pastUntil
		parts := o.takeMoreThan(newer, older, newer.standing().versus(older.standing()) == 0)
		if len(parts) > 0 {
			o.outvoted = append(o.outvoted, older.outvotedFor(parts))
		}
		newer.takeOver(older, parts)
		if older.state == asked {
			o.believe(older)
		} else {
			o.unpark(older)
		}
		older.state = gone
		older.object.JSON = nil // waiting may list the node for a while
		newer.older = older.older
		if o.live[older.alt] == older {
			delete(o.live, older.alt) // the newer version may have another one, or none
		}
		return
	}
	newer.follow(older.past, promise{older.microseconds(), older.object.Stated})
	newer.older = older
}

// doubt lets a node wait for what OpenCTI says of it. Fetching goes on meanwhile.
func (o *order) doubt(n *node) {
	n.state = asked
	n.markParked()
	o.asked++
	o.askedBytes += len(n.object.JSON)
	o.doubts = append(o.doubts, n.object.ID)
}

// believe ends that waiting.
func (o *order) believe(n *node) {
	o.asked--
	o.askedBytes -= len(n.object.JSON)
}

// enter places a node or parks it until what it refers to has been placed.
func (o *order) enter(n *node, now time.Time) {
	n.readRefs(o.keys)
	n.waits = waits{}
	own := false
	for i, key := range n.refs {
		ref := n.object.Refs[i]
		if key == n.alt || !o.isYetToGo(n, ref, key) && (o.known(ref, key) || o.bringStandard(ref, key, now)) {
			continue
		}
		n.waits.add(key)
		if text, found := o.shared(ref, key, i); found {
			if !own {
				n.object.Refs, own = slices.Clone(n.object.Refs), true // it may be others' as well
			}
			n.object.Refs[i] = text
		}
		o.waiting[key] = append(o.waiting[key], n)
	}
	if n.waits.len() == 0 {
		o.place(n)
		return
	}
	n.state, n.parkedAt = parked, now
	n.markParked()
	o.parked++
	o.parkedSince++
	o.parkedBytes += len(n.object.JSON)
	o.open += n.waits.len()
	if len(o.waiting[n.key]) > 0 || len(o.waiting[n.alt]) > 0 {
		o.entangled++
	}
}

// shared returns the text of a reference as another has it that waits for the same, at the same place of its list or among its
// first: of a hub's it is in memory once, and so are those of many reports over the same objects.
func (o *order) shared(ref string, key index.Key, at int) (text string, found bool) {
	list := o.waiting[key]
	if len(list) == 0 {
		return "", false
	}
	others := list[0].object.Refs
	if at < len(others) && others[at] == ref {
		return others[at], true
	}
	i := slices.Index(others[:min(len(others), fewWaits)], ref)
	if i < 0 {
		return "", false
	}
	return others[i], true
}

// bringStandard sends the definition of a standard marking, which is the same everywhere, before the first that refers to it.
func (o *order) bringStandard(ref string, key index.Key, now time.Time) bool {
	if o.live[key] != nil || o.isDoubtful(key) {
		return false
	}
	marking, ok := o.mapping.StandardMarking(ref)
	if !ok {
		return false
	}
	if rec, found := o.index.Lookup(key); found && rec.Mark == index.Refused {
		// It does not change, and nothing may go without: it is tried again, once in a run.
		rec.Mark, rec.Tries = index.Lost, 0
		o.index.Put(key, rec)
	}
	o.add("", &marking, nil, now, false)
	return o.known(ref, key)
}

// known reports whether what has the id is delivered or goes before anything placed from now on. Where only OpenCTI
// could say so, the id joins the doubts.
func (o *order) known(id string, key index.Key) bool {
	if n := o.live[key]; n != nil {
		if n.state == placed || n.older != nil {
			return true
		}
		// A newer version waits; the one delivered before serves as well.
	}
	rec, found := o.index.Lookup(key)
	if !found {
		return false
	}
	b := o.trust.asReference(rec)
	if b == uncertain {
		o.doubts = append(o.doubts, id)
	}
	return b == believed
}

// place appends a node to ready, and after it whatever waited for it alone.
func (o *order) place(n *node) {
	next := len(o.ready)
	o.ready = append(o.ready, n)
	for ; next < len(o.ready); next++ {
		n := o.ready[next]
		n.state = placed
		o.notePlaced(n)
		n.waits = waits{}
		n.sequence = o.sequence(n)
		o.readyBytes += n.size
		o.ready = o.release(n.key, o.ready)
		o.newlyPlaced = append(o.newlyPlaced, n.key)
		if n.hasAlt() {
			o.ready = o.release(n.alt, o.ready)
			o.newlyPlaced = append(o.newlyPlaced, n.alt)
		}
	}
}

// takeNewlyPlaced appends to a slice the keys of what was placed since it was last called.
func (o *order) takeNewlyPlaced(into []index.Key) []index.Key {
	into = append(into, o.newlyPlaced...)
	o.newlyPlaced = o.newlyPlaced[:0]
	return into
}

// takeDoubts returns the ids that OpenCTI has to be asked for since it was last called.
func (o *order) takeDoubts() []string {
	ids := o.doubts
	o.doubts = nil
	return ids
}

// sequence is 1 and the sum of the sequences of what the node refers to: how OpenCTI counts dependencies.
func (o *order) sequence(n *node) int64 {
	sum := int64(1)
	for _, key := range n.refs {
		target := o.live[key]
		for target != nil && target.state != placed {
			target = target.older // a newer version waits; this one serves
		}
		if target != nil {
			sum = addSequence(sum, target.sequence)
		} else if rec, found := o.index.Lookup(key); found {
			sum = addSequence(sum, max(1, int64(rec.Seq)))
		}
	}
	return sum
}

// kindOf is what is known of the kind of an object that was placed or delivered, see [pipeline.Object].
func (o *order) kindOf(ref string) uint8 {
	key := index.KeyOf(ref)
	if n := o.live[key]; n != nil {
		return n.object.Kind
	}
	rec, _ := o.index.Lookup(key)
	return rec.Kind
}

// addSequence adds without overflow: shared dependencies count each time, so sums can double at every level. The bound
// is the largest integer that every JSON reader holds exactly.
func addSequence(a, b int64) int64 {
	const largest = 1 << 53
	return min(a+b, largest)
}

// forget ends a node's way: it was delivered, or is not sent in this run. Settling it is for the caller.
func (o *order) forget(n *node) {
	n.state = gone
	o.takeOff(n, n.key)
	if n.hasAlt() {
		o.takeOff(n, n.alt)
	}
	n.older = nil
}

// takeOff lets a key stand for what is still on its way of a node's object.
func (o *order) takeOff(n *node, key index.Key) {
	switch {
	case o.live[key] != n:
	case n.older != nil && n.older.state == placed:
		o.live[key] = n.older
	default:
		delete(o.live, key)
	}
}
