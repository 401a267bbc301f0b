package emit

import (
	"math/bits"
	"slices"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// claims are the receipts that wait for a node. Those that it has taken over from versions that waited stand before those of the
// items that brought it: the list is handed on as it is, for ten thousand versions of one object can wait, each with a receipt.
type claims struct {
	list  []*receipt
	one   [1]*receipt // room for list, mostly enough
	older *takenOver  // nil where nothing was taken over
}

// takenOver says how the first claims of a list count, which came with older versions.
type takenOver struct {
	// parked of them do not count the node as moving. Of these the first shelved do not count it as unshelved either: the shelf holds
	// what they came with, until this version takes its place there or is delivered.
	parked, shelved int
	// unsaid is for each part from which claim on the list is of copies that state the same of it as the node, or nothing.
	unsaid [4]int
}

// place is that of a part in unsaid.
func place(part pipeline.Part) int { return bits.TrailingZeros8(uint8(part)) }

// taken says how the claims count; that of a node that has taken over nothing is zero.
func (c *claims) taken() takenOver {
	if c.older == nil {
		return takenOver{}
	}
	return *c.older
}

// of lists the claims of copies for which the node says a part.
func (c *claims) of(part pipeline.Part) []*receipt {
	return slices.Clone(c.list[c.taken().unsaid[place(part)]:])
}

// share is what the node adds to the counters of the receipt at a place of its list.
func (n *node) share(at int) (moving, unshelved, undelivered int) {
	taken := n.claims.taken()
	if !n.wasParked && at >= taken.parked {
		moving = 1
	}
	if !n.shelved && at >= taken.shelved {
		unshelved = 1
	}
	return moving, unshelved, 1
}

// attach makes the receipt wait for the node, once however often its item brings it.
func (n *node) attach(r *receipt) {
	c := &n.claims
	last := len(c.list) - 1
	if r == nil || last >= c.taken().parked && c.list[last] == r {
		return
	}
	if c.list == nil {
		c.list = c.one[:0]
	}
	c.list = append(c.list, r)
	r.count(n.share(last + 1))
}

// markParked tells the receipts that the node waits for others.
func (n *node) markParked() {
	if n.wasParked {
		return
	}
	n.wasParked = true
	for _, r := range n.claims.list[n.claims.taken().parked:] {
		r.count(-1, 0, 0)
	}
}

// markShelved tells the receipts that the shelf holds the node.
func (n *node) markShelved() {
	if n.shelved {
		return
	}
	n.shelved = true
	for _, r := range n.claims.list[n.claims.taken().shelved:] {
		r.count(0, -1, 0)
	}
}

// settle tells the receipts that nothing is left to do for the node.
func (n *node) settle() {
	for i, r := range n.claims.list {
		moving, unshelved, undelivered := n.share(i)
		r.count(-moving, -unshelved, -undelivered)
	}
	n.claims = claims{}
}

// hand makes what waits for a node that is new wait for another one instead.
func (n *node) hand(to *node) {
	for _, r := range n.claims.list {
		to.attach(r) // first, so that the receipt does not run empty
	}
	n.settle()
}

// takeOver makes what waits for an older version that waited wait for the node, which is new. said are the parts that the older one
// has stated and that go by themselves.
func (n *node) takeOver(older *node, said []pipeline.Part) {
	list, taken := older.claims.list, older.claims.taken()
	if taken.parked = len(list); older.shelved {
		taken.shelved = len(list)
	}
	for _, part := range said {
		taken.unsaid[place(part)] = len(list)
	}
	own := n.claims.list
	if last := len(list) - 1; last >= 0 && len(own) > 0 && list[last] == own[0] { // its item brought both, and the newer one counts
		moving, unshelved, undelivered := older.share(last)
		list[last].count(-moving, -unshelved, -undelivered)
		list = list[:last]
		taken.parked, taken.shelved = min(taken.parked, last), min(taken.shelved, last)
		for i := range taken.unsaid {
			taken.unsaid[i] = min(taken.unsaid[i], last)
		}
	}
	switch len(list) {
	case 0:
	case 1:
		n.claims.list, n.claims.older = append([]*receipt{list[0]}, own...), &taken // not in the room within the older node
	default:
		n.claims.list, n.claims.older = append(list, own...), &taken
	}
	older.claims = claims{}
}
