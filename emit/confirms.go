package emit

import "sync"

// confirms is where the publisher's goroutine leaves word of what the broker has taken, for the feeding goroutine to
// settle. It holds at most what is published and not yet confirmed: the publisher's window.
type confirms struct {
	mu    sync.Mutex
	nodes []*node
}

// add notes a node that was confirmed. It never blocks.
func (c *confirms) add(n *node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes = append(c.nodes, n)
}

// take moves what was confirmed since the last call into a slice that is used again, in the order in which it was.
func (c *confirms) take(into []*node) []*node {
	c.mu.Lock()
	defer c.mu.Unlock()
	into = append(into[:0], c.nodes...)
	clear(c.nodes)
	c.nodes = c.nodes[:0]
	return into
}
