package emit

import (
	"slices"
)

// A cycle of parked nodes would wait for ever, so one of its references is cut. Which one must not depend on the order
// in which the objects came, or two imports of the same input would differ:
//   - Only a closed component is cut: one that waits for nothing outside of itself, so that no later object can belong
//     to it. Its members are then the same in every import.
//   - It is walked depth first from the member with the smallest id, along references sorted by id. A reference to an
//     object that is still being walked closes a cycle and is cut: that is OpenCTI's own rule, which takes the objects in
//     the order in which they came.
//   - Where that reference is one that its object cannot do without (an end of a relationship, a marking), the nearest
//     reference before it on the walk that can be spared is cut instead.

// cycleCut is a reference to take away from a parked node.
type cycleCut struct {
	node   *node
	target *node
}

// cycleCuts returns the references to cut so that every closed component of parked nodes becomes free of cycles.
// essential tells whether a node cannot do without its reference to target; it is asked only within cycles.
func (o *order) cycleCuts(essential func(n, target *node) bool) []cycleCut {
	s := &componentSearch{order: o, seen: make(map[*node]*visit, o.parked)}
	for _, n := range o.parkedNodes() {
		if s.seen[n] == nil {
			s.walk(n)
		}
	}
	o.entangled, o.parkedSince = 0, 0
	var cuts []cycleCut
	for _, members := range s.closed {
		cuts = append(cuts, cutComponent(o, members, essential)...)
	}
	return cuts
}

// targets lists the parked nodes that n waits for, by id; outside says that it also waits for what is not here, or for
// OpenCTI's word on an earlier version, which would do.
func (o *order) targets(n *node) (nodes []*node, outside bool) {
	for key := range n.waits.all() {
		if t := o.live[key]; t != nil && t.state == parked && !o.isDoubtful(key) {
			nodes = append(nodes, t)
		} else {
			outside = true
		}
	}
	slices.SortFunc(nodes, byID)
	return slices.Compact(nodes), outside
}

// componentSearch finds strongly connected components (Tarjan's algorithm, with a stack of its own: a chain of parked
// objects can be as long as memory allows).
type componentSearch struct {
	order  *order
	seen   map[*node]*visit
	stack  []*visit
	closed [][]*node
}

type visit struct {
	node      *node
	number    int
	low       int
	targets   []*node
	next      int // the next of targets to look at
	onStack   bool
	waitsMore bool // it, or what it leads to, waits for something that is not here
}

func (s *componentSearch) enter(n *node) *visit {
	v := &visit{node: n, number: len(s.seen) + 1, onStack: true}
	v.low = v.number
	v.targets, v.waitsMore = s.order.targets(n)
	s.seen[n] = v
	s.stack = append(s.stack, v)
	return v
}

func (s *componentSearch) walk(root *node) {
	path := []*visit{s.enter(root)}
	for len(path) > 0 {
		v := path[len(path)-1]
		if v.next < len(v.targets) {
			t := s.seen[v.targets[v.next]]
			v.next++
			switch {
			case t == nil:
				path = append(path, s.enter(v.targets[v.next-1]))
			case t.onStack:
				v.low = min(v.low, t.number)
			default:
				v.waitsMore = v.waitsMore || t.waitsMore
			}
			continue
		}
		path = path[:len(path)-1]
		if v.low == v.number {
			s.leave(v)
		}
		if len(path) > 0 {
			up := path[len(path)-1]
			up.low = min(up.low, v.low)
			up.waitsMore = up.waitsMore || v.waitsMore
		}
	}
}

// leave takes the component of v off the stack.
func (s *componentSearch) leave(v *visit) {
	from := len(s.stack) - 1
	for s.stack[from] != v {
		from--
	}
	component := s.stack[from:]
	waitsMore := false
	for _, m := range component {
		waitsMore = waitsMore || m.waitsMore
	}
	members := make([]*node, len(component))
	for i, m := range component {
		m.onStack = false
		m.waitsMore = waitsMore
		members[i] = m.node
	}
	s.stack = s.stack[:from]
	if !waitsMore && len(members) > 1 {
		s.closed = append(s.closed, members)
	}
}

// step is one object on the way of the walk that looks for cycles within a component.
type step struct {
	node    *node
	targets []*node
	next    int
}

// cutComponent returns the references to cut within one component.
func cutComponent(o *order, members []*node, essential func(n, target *node) bool) []cycleCut {
	slices.SortFunc(members, byID)
	inside := make(map[*node]walkState, len(members))
	for _, m := range members {
		inside[m] = unwalked
	}
	w := &cutter{order: o, state: inside, essential: essential, spared: make(map[cycleCut]bool)}
	for _, m := range members {
		if inside[m] == unwalked {
			w.walk(m)
		}
	}
	return w.cuts
}

type walkState uint8

const (
	unwalked walkState = iota + 1
	walking
	walked
)

type cutter struct {
	order     *order
	state     map[*node]walkState // of the component's members only
	essential func(n, target *node) bool
	path      []step
	cuts      []cycleCut
	spared    map[cycleCut]bool // the cuts, to look up
}

func (c *cutter) push(n *node) {
	targets, _ := c.order.targets(n)
	c.state[n] = walking
	c.path = append(c.path, step{node: n, targets: targets})
}

func (c *cutter) walk(root *node) {
	c.push(root)
	for len(c.path) > 0 {
		top := &c.path[len(c.path)-1]
		if top.next == len(top.targets) {
			c.state[top.node] = walked
			c.path = c.path[:len(c.path)-1]
			continue
		}
		t := top.targets[top.next]
		top.next++
		if c.spared[cycleCut{top.node, t}] {
			continue
		}
		switch c.state[t] {
		case unwalked:
			c.push(t)
		case walking:
			c.breakCycle(t)
		}
	}
}

// breakCycle cuts the cycle that leads from target along the path back to target.
func (c *cutter) breakCycle(target *node) {
	last := len(c.path) - 1
	at := last
	for c.essential(c.path[at].node, c.targetOf(at)) {
		if c.path[at].node == target {
			at = last // nothing on the cycle can be spared: its last object has to go without
			break
		}
		at--
	}
	choice := cycleCut{c.path[at].node, c.targetOf(at)}
	c.cuts = append(c.cuts, choice)
	c.spared[choice] = true
	// What was walked beyond the cut is no longer on the way; it is walked again from where it is reached.
	for _, s := range c.path[at+1:] {
		c.state[s.node] = unwalked
	}
	c.path = c.path[:at+1]
}

// targetOf is what the object at a place of the path was being followed to.
func (c *cutter) targetOf(at int) *node {
	s := c.path[at]
	return s.targets[s.next-1]
}
