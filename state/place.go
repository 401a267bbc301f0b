package state

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// place is where the datasets are.
type place struct {
	// lastRun is where the upstream connector would go on without a gap, zero when there is no such moment.
	lastRun time.Time
	// importFrom is where datasets begin that have no cursor yet, from the first run until each has one.
	importFrom time.Time
	datasets   map[string]pipeline.Cursor
	backfill   map[string]window
}

// each lets f change every cursor, under the name by which a run knows it.
func (p *place) each(f func(dataset string, c pipeline.Cursor) pipeline.Cursor) {
	for name, c := range p.datasets {
		p.datasets[name] = f(name, c)
	}
	for name, w := range p.backfill {
		w.Cursor = f(InBackfill(name), w.Cursor)
		p.backfill[name] = w
	}
}

// placeText is a place as it is written.
type placeText struct {
	LastRun    time.Time                  `json:"last_run,omitzero"`
	Datasets   map[string]pipeline.Cursor `json:"datasets,omitempty"`
	ImportFrom time.Time                  `json:"import_from,omitzero"`
	Backfill   map[string]window          `json:"backfill,omitempty"`
}

// MarshalJSON writes what there is.
func (p place) MarshalJSON() ([]byte, error) {
	return json.Marshal(placeText{LastRun: p.lastRun, Datasets: p.datasets, ImportFrom: p.importFrom, Backfill: p.backfill})
}

// UnmarshalJSON reads it again.
func (p *place) UnmarshalJSON(raw []byte) error {
	var t placeText
	err := json.Unmarshal(raw, &t)
	*p = place{lastRun: t.LastRun, datasets: t.Datasets, importFrom: t.ImportFrom, backfill: t.Backfill}
	return err
}

// beginAtLastRun lets the datasets begin where the upstream connector would have gone on, and reports whether the place is
// one of its own, which names none.
func (p *place) beginAtLastRun(datasets []string) bool {
	if p.lastRun.IsZero() || len(p.datasets) > 0 {
		return false
	}
	for _, name := range datasets {
		p.datasets[name] = pipeline.Cursor{Since: p.lastRun}
	}
	return true
}

// noLaterThan lets a dataset begin at a moment where it would begin later. A pass under way there begins again: it may have gone
// past what is to be read.
func (p *place) noLaterThan(dataset string, since time.Time) {
	if p.isNothing() {
		return // that is the beginning, which nothing comes before
	}
	c, found := p.datasets[dataset]
	if !found {
		c.Since = p.importFrom
	}
	if c.Since.IsZero() || c.Since.After(since) {
		c.Since = since
	}
	c.Pass = nil
	p.datasets[dataset] = c
	if p.lastRun.After(since) {
		p.lastRun = since.Truncate(time.Second)
	}
}

// noFurtherThan lets every dataset begin no later than at another place, and a backfill go on no later than there. One that is not
// there stays: it leads back, to what a work may have to bring again.
func (p *place) noFurtherThan(other place) {
	if p.isNothing() {
		return
	}
	own := p.clone()
	for name := range own.datasets {
		if _, found := other.datasets[name]; !found {
			delete(p.datasets, name) // it begins with the import
		}
	}
	for name, c := range other.datasets {
		now, found := own.datasets[name]
		if !found {
			now.Since = own.importFrom
		}
		if now.Since.IsZero() || c.Since.Before(now.Since) {
			now.Since = c.Since
		}
		now.Pass = nil
		p.datasets[name] = now
	}
	for name, c := range other.backfill {
		if now, found := p.backfill[name]; found && now.Order == c.Order { // two that do not agree begin again anyway
			p.backfill[name] = now.again()
		}
	}
	if other.importFrom.IsZero() || other.importFrom.Before(p.importFrom) {
		p.importFrom = other.importFrom
	}
	if other.lastRun.Before(p.lastRun) {
		p.lastRun = other.lastRun
	}
}

func (p place) clone() place {
	c := p
	c.datasets, c.backfill = make(map[string]pipeline.Cursor, len(p.datasets)), make(map[string]window, len(p.backfill))
	maps.Copy(c.datasets, p.datasets)
	maps.Copy(c.backfill, p.backfill)
	return c
}

// isNothing says that the place is the beginning, wherever that is.
func (p place) isNothing() bool {
	return p.lastRun.IsZero() && p.importFrom.IsZero() && len(p.datasets)+len(p.backfill) == 0
}

// settledBy is the place with only those failed and gone items that are not owed any more now: what a run has brought of them
// has to be fetched again should its work be deleted, and the others are owed wherever the datasets are.
func (p place) settledBy(now place) place {
	settled := p.clone()
	settled.each(func(name string, c pipeline.Cursor) pipeline.Cursor {
		owes, _ := now.cursorOf(name)
		owed := slices.Concat(owes.Failed, owes.Gone)
		c.Failed, c.Gone = without(c.Failed, owed), without(c.Gone, owed)
		return c
	})
	return settled
}

// owe lets datasets look for the failed and gone items of another place, too.
func (p *place) owe(more place) {
	p.each(func(name string, c pipeline.Cursor) pipeline.Cursor {
		owes, _ := more.cursorOf(name)
		c.Failed = slices.Concat(c.Failed, without(owes.Failed, c.Failed))
		c.Gone = slices.Concat(without(c.Gone, c.Failed), without(owes.Gone, slices.Concat(c.Failed, c.Gone)))
		return c
	})
}

// owed counts failed and gone items.
func (p place) owed() (n int) {
	p.each(func(_ string, c pipeline.Cursor) pipeline.Cursor {
		n += len(c.Failed) + len(c.Gone)
		return c
	})
	return n
}

// without returns the ids that are not among others, nil for none.
func without(ids, others []string) (left []string) {
	for _, id := range ids {
		if !slices.Contains(others, id) {
			left = append(left, id)
		}
	}
	return left
}

func (p place) check() (bad []error) {
	p.each(func(name string, c pipeline.Cursor) pipeline.Cursor {
		if c.Since.IsZero() {
			bad = append(bad, fmt.Errorf("dataset %s has no since", name))
		}
		if c.Pass != nil && c.Pass.Started.IsZero() {
			bad = append(bad, fmt.Errorf("the pass of dataset %s has no start", name))
		}
		return c
	})
	return bad
}

// beginPassesAgain lets each pass under way begin again: without the index nothing tells what it has delivered, and
// OpenCTI may not have imported that yet, so that references to it would be taken for references to nothing.
func (p *place) beginPassesAgain() {
	p.each(func(_ string, c pipeline.Cursor) pipeline.Cursor {
		if c.Pass != nil {
			c.Pass = &pipeline.Pass{Started: c.Pass.Started}
		}
		return c
	})
}

// goBackToDelivered lets each pass go on where nothing waited on the disk: what did is lost, or was delivered in vain.
func (p *place) goBackToDelivered() {
	p.each(func(_ string, c pipeline.Cursor) pipeline.Cursor {
		if c.Pass != nil && c.Pass.KeptFrom != nil {
			pass := *c.Pass
			pass.After, pass.KeptFrom = *pass.KeptFrom, nil
			c.Pass = &pass
		}
		return c
	})
}
