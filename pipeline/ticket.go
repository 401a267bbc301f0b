package pipeline

import "golang.org/x/sync/semaphore"

// ticket is an item's on its way through the run: by it the sink settles the item.
type ticket struct {
	ledger  *ledger
	dataset string
	entry   *pageEntry
	payload *payload // nil before the item was admitted
	room    *semaphore.Weighted
	size    int64 // what the item takes of the room in the payload

	// What of the item is still to be settled, under the ledger's lock.
	moving, unkept, undelivered bool
}

// ticket makes one for an item of a page.
func (l *ledger) ticket(dataset string, entry *pageEntry) *ticket {
	return &ticket{ledger: l, dataset: dataset, entry: entry, moving: true, unkept: true, undelivered: true}
}

// settle takes note of what the sink says of the item, whose room in the payload is free with the first word of it.
func (t *ticket) settle(o Outcome) {
	if first := t.note(o); first && t.payload != nil {
		t.payload.release(t.room, t.size)
	}
}

// note also tells whether it is the first that the sink says.
func (t *ticket) note(o Outcome) (first bool) {
	l, entry := t.ledger, t.entry
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.datasets[t.dataset]
	if first = t.moving; first {
		t.moving = false
		if entry.moving--; entry.moving == 0 {
			<-d.slots
		}
	}
	if t.unkept && o != Parked {
		t.unkept = false
		entry.unkept--
	}
	if o == Delivered {
		if !t.undelivered {
			panic(deliveredTwice(t.dataset))
		}
		t.undelivered = false
		entry.undelivered--
	}
	if entry.unkept == 0 && d.advance() {
		l.signal()
	}
	return first
}
