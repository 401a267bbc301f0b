package transform

// appendUnique appends a list without the elements whose key came before, and without those that have no key to go by.
// What is no list stays as it is.
func appendUnique(dst, value []byte, key func(element []byte) (key string, keep bool)) []byte {
	elements, ok := appendElements(nil, value)
	if !ok {
		return append(dst, value...)
	}
	dst = append(dst, '[')
	start := len(dst)
	seen := make(map[string]bool, len(elements))
	for _, e := range elements {
		k, keep := key(e)
		if !keep || seen[k] {
			continue
		}
		seen[k] = true
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = append(dst, e...)
	}
	return append(dst, ']')
}

// referenceKey tells external references apart by their address, else by source and id there. One with neither says
// nothing that could be followed.
func referenceKey(element []byte) (string, bool) {
	url, source, id := fields(element, "url", "source_name", "external_id")
	switch {
	case url != nil:
		return "url\x00" + string(url), true
	case source != nil && id != nil:
		return "id\x00" + string(source) + "\x00" + string(id), true
	}
	return "", false
}

// phaseKey tells kill chain phases apart; what is no phase is told apart by its text.
func phaseKey(element []byte) (string, bool) {
	chain, phase, _ := fields(element, "kill_chain_name", "phase_name", "")
	if chain == nil || phase == nil {
		return "?" + string(element), true
	}
	return string(chain) + "\x00" + string(phase), true
}

// fields returns what three members of an object mean, nil for those that are missing or null.
func fields(object []byte, first, second, third string) (a, b, c []byte) {
	var room [8]member
	members, ok := appendMembers(room[:0], object)
	if !ok {
		return nil, nil, nil
	}
	for _, m := range members {
		value := m.value
		switch {
		case isNull(value):
			continue
		case isString(value):
			// A copy with room: a string may be empty, yet it is there.
			value = append(make([]byte, 0, len(value)), unquote(value)...)
		}
		switch string(m.name) {
		case first:
			a = value
		case second:
			b = value
		case third:
			c = value
		}
	}
	return a, b, c
}
