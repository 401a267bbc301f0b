package index

import "slices"

// places is what memory holds of the waiting objects: where in the file each lies, and which wait for an id.
type places struct {
	slots   []slot         // in the order of the file
	byID    map[Key]uint32 // slot of an object that is there
	byRef   map[Key]uint32 // last link of those that wait for an id
	links   []link         // of removed objects, too, until the file is rewritten
	partial []uint32       // slots of which something has come, once each; they may have come to their end since
	oldest  int            // no live slot before it
	bytes   int64          // of the frames of live slots
	kinds   [kinds]tally   // of the live slots
}

// slot is where an object lies; size is 0 once it is gone.
type slot struct {
	key      Key
	at       int64
	modified int64 // as [Waiter] has it, in microseconds; 0 for none
	size     uint32
	total    uint32 // links of it
	open     uint32 // of these, those of which the id has not come; 0 as well once it was handed out
	kind     WaiterKind
}

// handedOut says that an object waits for nothing any more, or was handed out before.
func (s *slot) handedOut() bool { return s.total > 0 && s.open == 0 }

// link says that an object waits for an id. Behind one that has come, towards the older, all have come.
type link struct {
	slot, previous uint32
	come           bool
}

type tally struct {
	count int
	bytes int64
}

const noLink = ^uint32(0)

func newPlaces() places { return places{byID: map[Key]uint32{}, byRef: map[Key]uint32{}} }

// add notes where a saved object lies. What a parked one waits for its run knows.
func (p *places) add(waiter *Waiter, at int64, size uint32) {
	k := KeyOf(waiter.Object.ID)
	p.drop(k)
	n := uint32(len(p.slots))
	s := slot{key: k, at: at, size: size, kind: waiter.Kind, modified: microseconds(waiter.Object.Modified)}
	if waiter.Kind != Parked {
		for _, ref := range waiter.Missing {
			p.link(KeyOf(ref), link{slot: n})
		}
		s.total = uint32(len(waiter.Missing))
		s.open = s.total
	}
	p.put(s)
}

// put appends a slot of a live object.
func (p *places) put(s slot) {
	p.byID[s.key] = uint32(len(p.slots))
	p.slots = append(p.slots, s)
	p.bytes += int64(s.size)
	t := &p.kinds[s.kind%kinds]
	t.count, t.bytes = t.count+1, t.bytes+int64(s.size)
}

// link puts a link before those that wait for the same id.
func (p *places) link(ref Key, l link) {
	l.previous = noLink
	if previous, ok := p.byRef[ref]; ok {
		l.previous = previous
	}
	p.byRef[ref] = uint32(len(p.links))
	p.links = append(p.links, l)
}

// drop forgets where an object lies.
func (p *places) drop(k Key) {
	n, ok := p.byID[k]
	if !ok {
		return
	}
	s := &p.slots[n]
	p.bytes -= int64(s.size)
	t := &p.kinds[s.kind%kinds]
	t.count, t.bytes = t.count-1, t.bytes-int64(s.size)
	s.size = 0
	delete(p.byID, k)
}

// keys returns the objects that are wanted in the order in which they were saved.
func (p *places) keys(wanted func(*slot) bool) []Key {
	var keys []Key
	for i := p.oldest; i < len(p.slots); i++ {
		if s := &p.slots[i]; s.size > 0 && wanted(s) {
			keys = append(keys, s.key)
		}
	}
	return keys
}

// isAwaited says whether [places.arrive] has anything to take note of.
func (p *places) isAwaited(ref Key) bool {
	n, ok := p.byRef[ref]
	return ok && !p.links[n].come
}

// arrive takes note that an id has come and returns the objects that now wait for nothing, in the order in which they were
// saved. However often an id comes, each link is looked at once.
func (p *places) arrive(ref Key) []Key {
	n, ok := p.byRef[ref]
	if !ok {
		return nil
	}
	var keys []Key
	for ; n != noLink && !p.links[n].come; n = p.links[n].previous {
		p.links[n].come = true
		number := p.links[n].slot
		s := &p.slots[number]
		if s.size == 0 || s.open == 0 {
			continue
		}
		if s.open == s.total {
			p.partial = append(p.partial, number)
		}
		if s.open--; s.open == 0 {
			keys = append(keys, s.key)
		}
	}
	slices.Reverse(keys)
	return keys
}

// takePartial returns at most so many of the objects of which a part has come, each once.
func (p *places) takePartial(most int) []Key {
	var keys []Key
	for ; len(p.partial) > 0 && len(keys) < most; p.partial = p.partial[1:] {
		if s := &p.slots[p.partial[0]]; s.size > 0 && s.open > 0 {
			s.open = 0
			keys = append(keys, s.key)
		}
	}
	return keys
}

// forgetArrivals lets all that is waited for be yet to come.
func (p *places) forgetArrivals() {
	p.partial = nil
	for i := range p.links {
		p.links[i].come = false
	}
	for i := range p.slots {
		p.slots[i].open = p.slots[i].total
	}
}

// beyond returns the oldest objects beyond the bounds. What may not fall out stays, whatever its age; it does not come to more
// than the bounds, see [places.crowds].
func (p *places) beyond(maxCount int, maxBytes int64) []Key {
	for p.oldest < len(p.slots) && p.slots[p.oldest].size == 0 {
		p.oldest++
	}
	var keys []Key
	count, bytes := len(p.byID), p.bytes
	for i := p.oldest; (count > maxCount || bytes > maxBytes) && i < len(p.slots); i++ {
		if s := p.slots[i]; s.size > 0 && !s.kind.exempt() {
			keys = append(keys, s.key)
			count--
			bytes -= int64(s.size)
		}
	}
	return keys
}

// crowds counts the objects that may not fall out, once some others are saved, and says whether they are more than the bounds allow.
func (p *places) crowds(waiters []Waiter, sizes []uint32, maxCount int, maxBytes int64) (t tally, crowded bool) {
	for kind, of := range p.kinds {
		if WaiterKind(kind).exempt() {
			t.count, t.bytes = t.count+of.count, t.bytes+of.bytes
		}
	}
	for i := range waiters {
		if waiters[i].Kind.exempt() {
			t.count, t.bytes = t.count+1, t.bytes+int64(sizes[i])
		}
	}
	if t.count <= maxCount && t.bytes <= maxBytes {
		return t, false // whatever they take the place of
	}
	for i := range waiters {
		if n, ok := p.byID[KeyOf(waiters[i].Object.ID)]; ok && p.slots[n].kind.exempt() {
			t.count, t.bytes = t.count-1, t.bytes-int64(p.slots[n].size)
		}
	}
	return t, t.count > maxCount || t.bytes > maxBytes
}

// moved returns the same places in another file: at tells where there each object lies, by the number of its slot, 0 for one
// that did not go along.
func (p *places) moved(at []int64) places {
	to := newPlaces()
	number := make([]uint32, len(p.slots))
	for i, s := range p.slots {
		number[i] = noLink
		if s.size > 0 && at[i] > 0 {
			number[i] = uint32(len(to.slots))
			s.at = at[i]
			to.put(s)
		}
	}
	for _, n := range p.partial {
		if number[n] != noLink {
			to.partial = append(to.partial, number[n])
		}
	}
	var chain []link
	for ref, n := range p.byRef {
		chain = chain[:0]
		for ; n != noLink; n = p.links[n].previous {
			if l := p.links[n]; number[l.slot] != noLink {
				chain = append(chain, link{slot: number[l.slot], come: l.come})
			}
		}
		for _, l := range slices.Backward(chain) {
			to.link(ref, l)
		}
	}
	return to
}
