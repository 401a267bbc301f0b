package emit

import (
	"math"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// node is one version of an object on its way through this run.
type node struct {
	dataset    string
	object     pipeline.Object // JSON is nil while only the disk holds it, and once it is published
	key        index.Key
	alt        index.Key // of AltID, zero when there is none
	waits      waits     // what a parked node still waits for
	state      nodeState
	older      *node // a version of the same object that goes before it
	batch      int   // number of the batch that it leaves with
	level      int   // depth below the batch's independent objects
	sequence   int64
	altered    bool             // references were taken out of JSON, so the disk holds another text
	whole      *pipeline.Object // the object as it came, once references were cleaned away
	digestOf   uint64           // of the object as it came
	afterwards *index.Waiter    // what the disk is to remember once the node is confirmed
	removed    []string         // references cleaned away because nothing brings them
	overtaken  bool             // a newer version was confirmed before this one
	size       int              // bytes of JSON, also while it is on disk
	parkedAt   time.Time
	parkedOnce bool // it has waited for others; what comes after is not for the fetchers to wait for
	onDisk     bool // Waiting holds it, so a crash does not lose it
	receipts   []*receipt
}

type nodeState uint8

const (
	fresh  nodeState = iota
	parked           // waits for others
	placed           // everything it refers to goes before it
	gone             // superseded while parked, dropped, or delivered
)

func newNode(dataset string, o pipeline.Object) *node {
	o.Modified = o.Modified.Truncate(time.Microsecond) // as the index and the disk keep it
	n := &node{dataset: dataset, object: o, key: index.KeyOf(o.ID), digestOf: o.Digest, size: len(o.JSON)}
	if o.AltID != "" {
		n.alt = index.KeyOf(o.AltID)
	}
	return n
}

// digest tells apart what was sent: an object without some of its references is not the same as the whole one.
func (n *node) digest() uint64 {
	if len(n.removed) == 0 {
		return n.digestOf
	}
	return digestWithout(n.digestOf, n.removed)
}

func digestWithout(digest uint64, removed []string) uint64 {
	removed = slices.Clone(removed)
	slices.Sort(removed)
	d := xxhash.New()
	for _, ref := range slices.Compact(removed) {
		_, _ = d.WriteString(ref)
		_, _ = d.WriteString("\n")
	}
	return digest ^ (d.Sum64() | 1) // never equal to the whole object's
}

// wasIncomplete marks in a record's Seq that the object was sent without some of its references.
const wasIncomplete = 1 << 31

func (n *node) record(run uint32) index.Record {
	r := index.Record{Digest: n.digest(), Run: run, Seq: uint32(min(n.sequence, math.MaxInt32))}
	if len(n.removed) > 0 {
		r.Seq |= wasIncomplete
	}
	if !n.object.Modified.IsZero() {
		r.Modified = n.object.Modified.UnixMicro()
	}
	return r
}

// addSequence adds without overflow: shared dependencies count each time, so sums can double at every level. The bound
// is the largest integer that every JSON reader holds exactly.
func addSequence(a, b int64) int64 {
	const largest = 1 << 53
	return min(a+b, largest)
}

// receipt follows the objects of one item.
type receipt struct {
	moving      int // neither delivered nor parked once
	unkept      int // neither delivered nor on disk
	undelivered int
	told        pipeline.Outcome // the last that settled was told
	toldAny     bool
	settled     func(pipeline.Outcome)
}

// newReceipt counts itself as one object, so that it is not settled before close says that the last one is in.
func newReceipt(settled func(pipeline.Outcome)) *receipt {
	return &receipt{moving: 1, unkept: 1, undelivered: 1, settled: settled}
}

func (r *receipt) close() { r.count(-1, -1, -1) }

// count changes the counters and tells what they now say, each outcome once.
func (r *receipt) count(moving, unkept, undelivered int) {
	r.moving += moving
	r.unkept += unkept
	r.undelivered += undelivered
	outcome := pipeline.Parked
	switch {
	case r.undelivered == 0:
		outcome = pipeline.Delivered
	case r.unkept == 0:
		outcome = pipeline.Kept
	case r.moving > 0:
		return
	}
	if r.toldAny && outcome <= r.told {
		return
	}
	r.told, r.toldAny = outcome, true
	r.settled(outcome)
}

// share is what the node adds to the counters of a receipt.
func (n *node) share() (moving, unkept, undelivered int) {
	moving, unkept = 1, 1
	if n.parkedOnce {
		moving = 0
	}
	if n.onDisk {
		unkept = 0
	}
	return moving, unkept, 1
}

// attach makes the receipt wait for the node.
func (n *node) attach(r *receipt) {
	if r == nil {
		return
	}
	n.receipts = append(n.receipts, r)
	r.count(n.share())
}

// park says that the node waits for others.
func (n *node) park() {
	if n.parkedOnce {
		return
	}
	n.parkedOnce = true
	for _, r := range n.receipts {
		r.count(-1, 0, 0)
	}
}

// keep says that the disk holds the node.
func (n *node) keep() {
	if n.onDisk {
		return
	}
	n.onDisk = true
	for _, r := range n.receipts {
		r.count(0, -1, 0)
	}
}

// settle says that nothing is left to do for the node.
func (n *node) settle() {
	moving, unkept, undelivered := n.share()
	for _, r := range n.receipts {
		r.count(-moving, -unkept, -undelivered)
	}
	n.receipts = nil
}

// hand makes what waits for the node wait for another one instead.
func (n *node) hand(to *node) {
	for _, r := range n.receipts {
		to.attach(r) // first, so that the receipt does not run empty
	}
	n.settle()
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
