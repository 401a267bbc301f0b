package emit

import (
	"iter"
	"math"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// node is one version of an object on its way through this run. A hundred thousand may be parked: what is small stands together,
// and what few have behind a pointer.
type node struct {
	dataset string
	object  pipeline.Object // JSON is nil while only the shelf has it, and once it is published
	key     index.Key
	alt     index.Key       // of AltID, zero when there is none
	refs    []index.Key     // of the object's Refs, in their order, once it was placed or parked
	size    int             // bytes of JSON, also while it is on the shelf
	said    pipeline.Stated // with the node, or in addition to it, once all that is under way has gone
	told    pipeline.Stated // with the node, or before it: what the index may know once it is confirmed
	added   uint32          // the author that was added to its version before it was placed, 0 for none
	past    *past           // what copies have stated that were sent before it, nil for nothing

	pastUntil int // so much of past, by its numbers

	waits    waits // what a parked node still waits for
	parkedAt time.Time
	older    *node // a version of the same object that goes before it
	batch    int   // number of the batch that it leaves with
	level    int   // depth below the batch's independent objects
	sequence int64
	// outstanding counts its messages that are published, or about to be, and not settled.
	outstanding int
	settlements *settlements // where word is left of what became of them
	lost        *losses      // nil as long as nothing brings none of its references

	state     nodeState
	referred  uint16 // how many others the text refers to that was published
	inParts   bool   // it goes in more than one message
	leftOut   bool   // the broker does not take it
	tries     uint8  // how often this version was sent again because OpenCTI had not imported it
	arrival   bool   // it goes by the moment at which it came
	wasParked bool   // what comes after is not for the fetchers to wait for
	shelved   bool   // the shelf holds it, so a crash does not lose it
	overtaken bool   // a newer version was confirmed before this one
	renews    bool   // OpenCTI has had an earlier version
	broken    bool   // the mapping fails over it, so that it is left out when it is to go
	altered   bool   // JSON has become another text than the one that the shelf holds, or may hold

	claims claims
	ref    [2]index.Key // room for refs, mostly enough
}

// losses are what a node goes without because nothing brings it.
type losses struct {
	refs  []string
	whole *pipeline.Object // the object before the first of them went, until it is published
	noted *index.Waiter    // what the shelf is to remember once the node is confirmed
}

type nodeState uint8

const (
	fresh  nodeState = iota
	asked            // the index knows it, and OpenCTI is asked whether that is still so
	parked           // waits for others
	placed           // everything it refers to goes before it
	gone             // superseded before it was placed, held back, or delivered
)

// begin makes an empty node that of an object.
func (n *node) begin(dataset string, o *pipeline.Object, keys *keyring) {
	n.dataset, n.key, n.said, n.told = dataset, keys.of(o.ID), o.Stated, o.Stated
	n.setObject(o)
	n.object.Modified = o.Modified.Truncate(time.Microsecond) // as the index and the shelf keep it
	if o.AltID != "" {
		n.alt = keys.of(o.AltID)
	}
}

// hasAlt says that the object has a second id.
func (n *node) hasAlt() bool { return n.alt != (index.Key{}) }

// setObject gives the node another text of its version.
func (n *node) setObject(o *pipeline.Object) { n.object, n.size = *o, len(o.JSON) }

// footprint is about how many bytes the node takes once its text is in memory.
func (n *node) footprint() int {
	const ref = 100 // what is known of each, beside the text
	return n.size + ref*len(n.refs)
}

// readRefs takes note of what the text refers to.
func (n *node) readRefs(keys *keyring) {
	n.refs = slices.Grow(n.ref[:0], len(n.object.Refs))
	for _, ref := range n.object.Refs {
		n.refs = append(n.refs, keys.of(ref))
	}
}

// objectVersion is one version of an object.
type objectVersion struct {
	id       string
	modified time.Time
}

// version names the node's version of its object.
func (n *node) version() objectVersion { return objectVersion{n.object.ID, n.object.Modified} }

// cut is a hash of the references that the node goes without, 0 where it goes whole.
func (n *node) cut() uint32 { return cutOf(slices.Clone(n.removed())) }

// cutOf is a hash of references, whose list is put in order.
func cutOf(removed []string) uint32 {
	if len(removed) == 0 {
		return 0
	}
	slices.Sort(removed)
	d := xxhash.New()
	for _, ref := range slices.Compact(removed) {
		_, _ = d.WriteString(ref)
		_, _ = d.WriteString("\n")
	}
	return uint32(d.Sum64()) | 1
}

// removed lists the references that the node goes without.
func (n *node) removed() []string {
	if n.lost == nil {
		return nil
	}
	return n.lost.refs
}

// lose notes references that nothing brings, before they go. whole is the object with all that it ever referred to.
func (n *node) lose(refs []string, whole *pipeline.Object) {
	if n.lost == nil {
		n.lost = &losses{whole: whole}
	}
	n.lost.refs = append(n.lost.refs, refs...)
}

// dropTexts frees the memory of a node that is published: what it refers to as well, which can be as much.
func (n *node) dropTexts() {
	if len(n.object.Refs) > 0 {
		n.referred = uint16(min(len(n.object.Refs), math.MaxUint16))
	}
	n.object.JSON, n.object.Refs, n.refs = nil, nil, nil
	if n.lost != nil {
		n.lost.whole = nil
	}
}

// learn takes over what the index knows of an earlier delivery of the object. Of what was lost, or not taken, OpenCTI may
// have a version before.
func (n *node) learn(rec index.Record) {
	n.renews = true
	if rec.Mark != index.Lost {
		n.follow(nil, promise{rec.Modified, rec.Stated})
	}
	if n.isVersionOf(rec) {
		n.tries = rec.Tries
	}
}

// isVersionOf says that a record stands for the node's version, whether it was sent as it is, or without some of its
// references, or OpenCTI was found to hold it.
func (n *node) isVersionOf(rec index.Record) bool {
	return rec.Digest == n.object.Digest && rec.Digest != 0 || rec.Modified == n.microseconds() && (rec.Digest == 0 || rec.Cut != 0)
}

// microseconds is the node's version as a record has it: 0 for none, so that all before 1970 are one.
func (n *node) microseconds() int64 {
	if n.object.Modified.IsZero() {
		return 0
	}
	return max(1, n.object.Modified.UnixMicro())
}

// record is what the index is to know once the node is confirmed.
func (n *node) record(run uint32, today index.Day) index.Record {
	r := index.Record{
		Digest: n.object.Digest, Modified: n.microseconds(), Run: run, Seq: uint32(min(n.sequence, math.MaxInt32)), Day: today,
		Refs: n.referred, Kind: n.object.Kind, Tries: n.tries,
		Cut: n.cut(), Stated: n.told, Weak: n.object.Weak, Addition: isAddition(n.object.ID), Arrival: n.arrival,
	}
	if n.inParts {
		// OpenCTI reports one part as an object, and can hold the object for its other parts.
		r.Refs, r.Mark = 0, index.Renewed
	}
	if n.renews {
		r.Mark = index.Renewed
	}
	return r
}

// waitsFor reports whether a parked node still waits for key.
func (n *node) waitsFor(key index.Key) bool {
	return n.state == parked && n.waits.has(key)
}

// stopWaiting ends a parked node's wait for key and reports whether it now waits for nothing.
func (n *node) stopWaiting(key index.Key) bool {
	n.waits.remove(key)
	return n.waits.len() == 0
}

// missingRefs lists the references that a parked node waits for.
func (n *node) missingRefs() []string {
	return n.refsWith(n.waitsFor)
}

// refsWith lists the references whose keys are wanted.
func (n *node) refsWith(wanted func(index.Key) bool) (refs []string) {
	for i, key := range n.refs {
		if wanted(key) {
			refs = append(refs, n.object.Refs[i])
		}
	}
	return refs
}

// waits is what a parked node still waits for, each key once. Most nodes wait for one or two; one that refers to a
// hundred thousand others must not look through all of them each time that one arrives.
type waits struct {
	few  []index.Key
	many map[index.Key]struct{} // instead of few, once there are more
}

const fewWaits = 16

func (w *waits) len() int { return len(w.few) + len(w.many) }

func (w *waits) has(key index.Key) bool {
	if w.many != nil {
		_, found := w.many[key]
		return found
	}
	return slices.Contains(w.few, key)
}

func (w *waits) add(key index.Key) {
	switch {
	case w.many != nil:
		w.many[key] = struct{}{}
	case len(w.few) < fewWaits:
		w.few = append(w.few, key)
	default:
		w.many = make(map[index.Key]struct{}, 4*fewWaits)
		for _, k := range append(w.few, key) {
			w.many[k] = struct{}{}
		}
		w.few = nil
	}
}

func (w *waits) remove(key index.Key) {
	if w.many != nil {
		delete(w.many, key)
		return
	}
	if i := slices.Index(w.few, key); i >= 0 {
		w.few = slices.Delete(w.few, i, i+1)
	}
}

func (w *waits) all() iter.Seq[index.Key] {
	return func(yield func(index.Key) bool) {
		for _, key := range w.few {
			if !yield(key) {
				return
			}
		}
		for key := range w.many {
			if !yield(key) {
				return
			}
		}
	}
}
