package pipeline

import (
	"context"
	"slices"
	"sync"
	"time"
)

// ledger follows the pages of all datasets from their opening to their commit.
type ledger struct {
	mu       sync.Mutex
	datasets map[string]*datasetLedger
	changed  chan struct{} // holds one token while a watermark has moved and nobody has looked
}

// datasetLedger holds the pages of one dataset that are not delivered yet, oldest first.
type datasetLedger struct {
	slots     chan struct{} // bounds the pages of which something is on its way
	pages     []*pageEntry
	keptPages int    // how many of the first pages the kept cursor is past
	delivered Cursor // the cursor behind the pages that are delivered without a gap
	kept      Cursor // the same for the pages that are at least kept, at or past delivered
	dirty     bool   // a cursor has moved since it was last taken
}

// pageEntry is one open page.
type pageEntry struct {
	next        Cursor
	opened      time.Time
	moving      int // items of which something is on its way, not only parked
	unkept      int // items that are neither kept nor delivered
	undelivered int
}

func newLedger(openPages int, start map[string]Cursor) *ledger {
	l := &ledger{datasets: make(map[string]*datasetLedger, len(start)), changed: make(chan struct{}, 1)}
	for name, cursor := range start {
		l.datasets[name] = newDatasetLedger(openPages, cursor)
	}
	return l
}

// newDatasetLedger begins at a cursor. What an earlier run has kept on disk stands as a first page, delivered when that
// is.
func newDatasetLedger(openPages int, from Cursor) *datasetLedger {
	d := &datasetLedger{slots: make(chan struct{}, openPages), delivered: from, kept: from}
	if from.Pass == nil || from.Pass.KeptFrom == nil {
		return d
	}
	kept, delivered := *from.Pass, *from.Pass
	delivered.After, kept.KeptFrom, delivered.KeptFrom = *kept.KeptFrom, nil, nil
	d.kept.Pass, d.delivered.Pass = &kept, &delivered
	d.pages, d.keptPages = []*pageEntry{{next: d.kept, undelivered: 1}}, 1
	return d
}

// carried returns, for each dataset of which an earlier run has kept something, how to settle that.
func (l *ledger) carried() map[string]func(Outcome) {
	settle := make(map[string]func(Outcome))
	for name, d := range l.datasets {
		if d.keptPages == 0 {
			continue
		}
		entry := d.pages[0]
		settle[name] = func(o Outcome) {
			l.mu.Lock()
			defer l.mu.Unlock()
			if o == Delivered {
				if entry.undelivered == 0 {
					panic(deliveredTwice(name))
				}
				entry.undelivered = 0
				if d.advance() {
					l.signal()
				}
			}
		}
	}
	return settle
}

// start is where the source of a dataset begins. What is kept on disk is not its business.
func (l *ledger) start(dataset string) Cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.datasets[dataset].kept
}

// open blocks until the dataset may have another unsettled page.
func (l *ledger) open(ctx context.Context, dataset string, p Page) (*pageEntry, error) {
	d := l.datasets[dataset]
	select {
	case d.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	entry := &pageEntry{next: p.Next, opened: time.Now(), moving: len(p.Items), unkept: len(p.Items), undelivered: len(p.Items)}
	l.mu.Lock()
	defer l.mu.Unlock()
	d.pages = append(d.pages, entry)
	if entry.unkept == 0 {
		<-d.slots
		d.advance()
		l.signal()
	}
	return entry, nil
}

// deliveredTwice is what a sink's mistake stops the program with: the second count would stand for an item that is not
// delivered, and its page be committed without it.
func deliveredTwice(dataset string) string {
	return "pipeline: the sink has settled an item of " + dataset + " as delivered twice"
}

// advance moves both cursors over the pages that allow it and reports whether one has moved.
func (d *datasetLedger) advance() bool {
	moved := false
	for len(d.pages) > 0 && d.pages[0].undelivered == 0 {
		d.delivered = d.pages[0].next
		d.pages[0] = nil
		d.pages = d.pages[1:]
		if d.keptPages > 0 {
			d.keptPages--
		} else {
			d.kept = d.delivered
		}
		moved = true
	}
	// A page without a pass ends the dataset's pass: that is said only once everything is delivered.
	for d.keptPages < len(d.pages) && d.pages[d.keptPages].unkept == 0 && d.pages[d.keptPages].next.Pass != nil {
		d.kept = d.pages[d.keptPages].next
		d.keptPages++
		moved = true
	}
	d.dirty = d.dirty || moved
	return moved
}

// cursor is what may be committed of the dataset now. Pages that are only kept are told apart by their number: several
// of them can end at the same position, such as those of items that are tried again.
func (d *datasetLedger) cursor() Cursor {
	c := d.kept
	if d.keptPages == 0 || c.Pass == nil {
		return c
	}
	pass := *c.Pass
	from := ""
	if d.delivered.Pass != nil && d.delivered.Pass.Started.Equal(pass.Started) {
		from = d.delivered.Pass.After
	}
	pass.KeptFrom = &from
	c.Pass = &pass
	// An item that was tried again lies before KeptFrom: without the disk only its name here brings it back.
	for _, id := range slices.Concat(d.delivered.Failed, d.delivered.Gone) {
		if !slices.Contains(c.Failed, id) && !slices.Contains(c.Gone, id) {
			c.Failed = append(slices.Clip(c.Failed), id)
		}
	}
	return c
}

// oldest returns when the first page of each dataset was opened of which something is neither kept nor delivered.
func (l *ledger) oldest() map[string]time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	opened := make(map[string]time.Time, len(l.datasets))
	for name, d := range l.datasets {
		for _, entry := range d.pages[d.keptPages:] {
			if entry.unkept > 0 {
				opened[name] = entry.opened
				break
			}
		}
	}
	return opened
}

// take returns the cursors that have moved since the last call.
func (l *ledger) take() map[string]Cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	var moved map[string]Cursor
	for name, d := range l.datasets {
		if d.dirty {
			if moved == nil {
				moved = make(map[string]Cursor)
			}
			moved[name] = d.cursor()
			d.dirty = false
		}
	}
	return moved
}

// putBack marks cursors as still to be committed, after a commit has failed.
func (l *ledger) putBack(cursors map[string]Cursor) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name := range cursors {
		l.datasets[name].dirty = true
	}
	l.signal()
}

// signal wakes the committer; l.mu is held.
func (l *ledger) signal() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}
