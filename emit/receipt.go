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
