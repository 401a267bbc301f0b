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
	backfill   map[string]pipeline.Cursor // of the datasets of a backfill that are not done
}

// cursors are all of them.
func (p place) cursors() []map[string]pipeline.Cursor {
	return []map[string]pipeline.Cursor{p.datasets, p.backfill}
}

// placeText is a place as it is written.
type placeText struct {
	LastRun    time.Time                  `json:"last_run,omitzero"`
	Datasets   map[string]pipeline.Cursor `json:"datasets,omitempty"`
	ImportFrom time.Time                  `json:"import_from,omitzero"`
	Backfill   map[string]pipeline.Cursor `json:"backfill,omitempty"`
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
		if now, found := p.backfill[name]; found && now.Until.Equal(c.Until) { // two that do not agree begin again anyway
			now.Since, now.Pass = earlier(now.Since, c.Since), nil
			p.backfill[name] = now
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
	c.datasets, c.backfill = make(map[string]pipeline.Cursor, len(p.datasets)), make(map[string]pipeline.Cursor, len(p.backfill))
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
	c := p.clone()
	for i, cursors := range c.cursors() {
		for name, cursor := range cursors {
			owes := now.cursors()[i][name]
			owed := slices.Concat(owes.Failed, owes.Gone)
			cursor.Failed, cursor.Gone = without(cursor.Failed, owed), without(cursor.Gone, owed)
			cursors[name] = cursor
		}
	}
	return c
}

// owe lets datasets look for the failed and gone items of another place, too.
func (p *place) owe(more place) {
	for i, cursors := range p.cursors() {
		for name, cursor := range cursors {
			owes := more.cursors()[i][name]
			cursor.Failed = slices.Concat(cursor.Failed, without(owes.Failed, cursor.Failed))
			cursor.Gone = slices.Concat(without(cursor.Gone, cursor.Failed), without(owes.Gone, slices.Concat(cursor.Failed, cursor.Gone)))
			cursors[name] = cursor
		}
	}
}

// owed counts failed and gone items.
func (p place) owed() (n int) {
	for _, cursors := range p.cursors() {
		for _, c := range cursors {
			n += len(c.Failed) + len(c.Gone)
		}
	}
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

func (p place) check() []error {
	var bad []error
	for _, cursors := range p.cursors() {
		for name, c := range cursors {
			if c.Since.IsZero() {
				bad = append(bad, fmt.Errorf("dataset %s has no since", name))
			}
			if c.Pass != nil && c.Pass.Started.IsZero() {
				bad = append(bad, fmt.Errorf("the pass of dataset %s has no start", name))
			}
		}
	}
	return bad
}

// beginPassesAgain lets each pass under way begin again: without the index nothing tells what it has delivered, and
// OpenCTI may not have imported that yet, so that references to it would be taken for references to nothing.
func (p *place) beginPassesAgain() {
	for _, cursors := range p.cursors() {
		for name, c := range cursors {
			if c.Pass != nil {
				c.Pass = &pipeline.Pass{Started: c.Pass.Started}
				cursors[name] = c
			}
		}
	}
}

// goBackToDelivered lets each pass go on where nothing waited on the disk: what did is lost, or was delivered in vain.
func (p *place) goBackToDelivered() {
	for _, cursors := range p.cursors() {
		for name, c := range cursors {
			if c.Pass != nil && c.Pass.KeptFrom != nil {
				pass := *c.Pass
				pass.After, pass.KeptFrom = *pass.KeptFrom, nil
				c.Pass = &pass
				cursors[name] = c
			}
		}
	}
}
