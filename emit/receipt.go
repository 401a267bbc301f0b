package emit

import "github.com/opencti-connectors/threatmatch/pipeline"

// receipt follows the objects of one item and tells the pipeline how far the item as a whole has come.
type receipt struct {
	moving      int // objects that are neither delivered nor have been parked
	unshelved   int // objects that are neither delivered nor on the shelf
	undelivered int
	told        pipeline.Outcome // the last outcome that settled was told
	toldAny     bool
	settled     func(pipeline.Outcome)
}

// newReceipt counts itself as one object, so that it is not settled before close says that the last one is in.
func newReceipt(settled func(pipeline.Outcome)) *receipt {
	return &receipt{moving: 1, unshelved: 1, undelivered: 1, settled: settled}
}

func (r *receipt) close() { r.count(-1, -1, -1) }

// block keeps the item unsettled for good: a part of it is lost to this run and must not count as delivered.
func (r *receipt) block() { r.count(1, 1, 1) }

// count changes the counters and tells what they now say, each outcome once.
func (r *receipt) count(moving, unshelved, undelivered int) {
	r.moving += moving
	r.unshelved += unshelved
	r.undelivered += undelivered
	outcome := pipeline.Parked
	switch {
	case r.undelivered == 0:
		outcome = pipeline.Delivered
	case r.unshelved == 0:
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
func (n *node) share() (moving, unshelved, undelivered int) {
	moving, unshelved = 1, 1
	if n.wasParked {
		moving = 0
	}
	if n.shelved {
		unshelved = 0
	}
	return moving, unshelved, 1
}

// attach makes the receipt wait for the node.
func (n *node) attach(r *receipt) {
	if r == nil {
		return
	}
	n.receipts = append(n.receipts, r)
	r.count(n.share())
}

// markParked tells the receipts that the node waits for others.
func (n *node) markParked() {
	if n.wasParked {
		return
	}
	n.wasParked = true
	for _, r := range n.receipts {
		r.count(-1, 0, 0)
	}
}

// markShelved tells the receipts that the shelf holds the node.
func (n *node) markShelved() {
	if n.shelved {
		return
	}
	n.shelved = true
	for _, r := range n.receipts {
		r.count(0, -1, 0)
	}
}

// settle tells the receipts that nothing is left to do for the node.
func (n *node) settle() {
	moving, unshelved, undelivered := n.share()
	for _, r := range n.receipts {
		r.count(-moving, -unshelved, -undelivered)
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
