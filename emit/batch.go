package emit

// take cuts the next batch of at most count nodes and about so many bytes, sorted so that what others refer to lies as
// far ahead of them as the batch allows.
func (o *order) take(count, bytes, number int) []*node {
	batch := make([]*node, 0, min(count, len(o.ready)))
	taken, total := 0, 0
	for _, n := range o.ready {
		if len(batch) == count || (len(batch) > 0 && total+n.size > bytes) {
			break
		}
		taken++
		total += n.size
		if o.isLate(n) {
			o.forget(n)
			n.settle()
			o.late = append(o.late, n.version())
			continue
		}
		n.batch = number
		n.level = o.level(n, number)
		batch = append(batch, n)
	}
	o.readyBytes -= total
	clear(o.ready[:taken])
	o.ready = o.ready[taken:]
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
	for _, key := range n.refs {
		for t := o.live[key]; t != nil; t = t.older {
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
