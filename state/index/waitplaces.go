package index

import "slices"

// places is what memory holds of the waiting objects: where in the file each lies, and which wait for an id.
type places struct {
	slots  []slot         // in the order of the file
	byID   map[Key]uint32 // slot of an object that is there
	byRef  map[Key]uint32 // last link of those that wait for an id
	links  []link         // of removed objects, too, until the file is rewritten
	oldest int            // no live slot before it
	bytes  int64          // of the frames of live slots
	kinds  [kinds]int     // of the live slots
}

// slot is where an object lies; size is 0 once it is gone.
type slot struct {
	key  Key
	at   int64
	size uint32
	kind WaiterKind
}

type link struct{ slot, previous uint32 }

const noLink = ^uint32(0)

func newPlaces() places { return places{byID: map[Key]uint32{}, byRef: map[Key]uint32{}} }

// add notes where a saved object lies.
func (p *places) add(waiter *Waiter, at int64, size uint32) {
	k := KeyOf(waiter.Object.ID)
	p.drop(k)
	n := uint32(len(p.slots))
	p.slots = append(p.slots, slot{k, at, size, waiter.Kind})
	p.byID[k] = n
	p.bytes += int64(size)
	p.kinds[waiter.Kind%kinds]++
	for _, ref := range waiter.Missing {
		rk := KeyOf(ref)
		previous, ok := p.byRef[rk]
		if !ok {
			previous = noLink
		}
		p.byRef[rk] = uint32(len(p.links))
		p.links = append(p.links, link{n, previous})
	}
}

// drop forgets where an object lies.
func (p *places) drop(k Key) {
	n, ok := p.byID[k]
	if !ok {
		return
	}
	p.bytes -= int64(p.slots[n].size)
	p.slots[n].size = 0
	p.kinds[p.slots[n].kind%kinds]--
	delete(p.byID, k)
}

// keys returns all objects in the order in which they were saved.
func (p *places) keys() []Key {
	keys := make([]Key, 0, len(p.byID))
	for _, s := range p.slots[p.oldest:] {
		if s.size > 0 {
			keys = append(keys, s.key)
		}
	}
	return keys
}

// waitingFor returns the objects that wait for an id, but for parked ones, in the order in which they were saved.
func (p *places) waitingFor(ref Key) []Key {
	n, ok := p.byRef[ref]
	if !ok {
		return nil
	}
	var keys []Key
	for ; n != noLink; n = p.links[n].previous {
		s := p.slots[p.links[n].slot]
		if s.size > 0 && s.kind != Parked && (len(keys) == 0 || keys[len(keys)-1] != s.key) { // an object may name an id twice
			keys = append(keys, s.key)
		}
	}
	slices.Reverse(keys)
	return keys
}

// beyond returns the oldest objects beyond the bounds. Parked ones stay, whatever their age, and so do those that are about to
// be sent again.
func (p *places) beyond(maxCount int, maxBytes int64) []Key {
	for p.oldest < len(p.slots) && p.slots[p.oldest].size == 0 {
		p.oldest++
	}
	var keys []Key
	count, bytes := len(p.byID), p.bytes
	for i := p.oldest; (count > maxCount || bytes > maxBytes) && i < len(p.slots); i++ {
		if s := p.slots[i]; s.size > 0 && s.kind != Parked && s.kind != Unimported {
			keys = append(keys, s.key)
			count--
			bytes -= int64(s.size)
		}
	}
	return keys
}
