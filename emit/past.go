package emit

// past is what versions of an object have stated that go before newer ones of the same run. The versions that are under way share
// it, and each knows how much of it goes before itself.
type past struct {
	noted int       // so many have been taken off its front
	left  []promise // those of them that are not noted yet
}

// follow lets the node go after what others have stated, and one that states this.
func (n *node) follow(all *past, p promise) {
	if all == nil {
		all = new(past)
	}
	all.left = append(all.left, p)
	n.past, n.pastUntil = all, all.noted+len(all.left)
}

// takePast returns what was stated before a node that was delivered, and was not returned for one before it.
func (n *node) takePast() []promise {
	h := n.past
	if h == nil || n.pastUntil <= h.noted {
		return nil
	}
	stated := h.left[:n.pastUntil-h.noted]
	h.left, h.noted = h.left[len(stated):], n.pastUntil
	return stated
}
