package state

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// backfillPrefix tells the datasets of a backfill from those of the schedule.
const backfillPrefix = "backfill/"

// InBackfill names a dataset as a part of the backfill, for a run's checkpoint.
func InBackfill(dataset string) string { return backfillPrefix + dataset }

// Backfill is an import of an older window beside the scheduled state. The zero value stands for none.
type Backfill struct {
	From, To time.Time
	// Datasets are those that are not done yet.
	Datasets []string
}

// String tells the window.
func (b Backfill) String() string {
	return fmt.Sprintf("%s from %s to %s", strings.Join(b.Datasets, ", "), b.From.UTC().Format(time.RFC3339), b.To.UTC().Format(time.RFC3339))
}

var (
	// ErrOtherBackfill says that a backfill of another window is not done yet.
	ErrOtherBackfill = errors.New("another backfill is not done yet; wait for it, or cancel it")
	// ErrNothingToBackfill says that all of the window is imported, or will be by the schedule.
	ErrNothingToBackfill = errors.New("there is nothing to backfill")
)

// OrderBackfill lets datasets be imported from a moment on up to another one; a zero one stands for where the connector's own import
// began. It returns what is to do once OpenCTI holds that. An order of what is under way already goes on with it. The error wraps
// ErrOtherBackfill or ErrNothingToBackfill, or says that ctx ended or that OpenCTI did not take it.
func (k *Keeper) OrderBackfill(ctx context.Context, from, to time.Time, datasets []string) (Backfill, error) {
	from, to = from.UTC().Truncate(time.Second), to.UTC().Truncate(time.Second)
	var refused error
	generation := k.change(func(d *document) (changed bool) {
		changed, refused = d.orderBackfill(from, to, datasets, k.cfg.ImportFrom().UTC().Truncate(time.Second))
		return changed
	})
	if refused != nil {
		return k.Backfill(), refused
	}
	return k.Backfill(), k.store(ctx, generation)
}

func (d *document) orderBackfill(from, to time.Time, datasets []string, importStart time.Time) (changed bool, err error) {
	own := d.importedFrom(importStart)
	if whole := own.Truncate(time.Second); whole.Before(own) {
		own = whole.Add(time.Second) // no moment may lie between a backfill and what was imported
	}
	if to.IsZero() {
		to = own
	}
	if under := d.backfillUnderWay(); len(under.Datasets) > 0 {
		same := !from.Before(under.From) && !to.After(under.To) && !slices.ContainsFunc(under.Datasets, func(name string) bool { return !slices.Contains(datasets, name) })
		if same { // or within it, as a duration before now is a while later
			return false, nil
		}
		return false, fmt.Errorf("%s: %w", under, ErrOtherBackfill)
	}
	if !from.Before(to) {
		return false, fmt.Errorf("everything since %s is imported by the schedule, or was backfilled before: %w", own.Format(time.RFC3339), ErrNothingToBackfill)
	}
	d.covered, d.backfillFrom = own, from
	for _, name := range datasets {
		d.backfill[name] = pipeline.Cursor{Since: from, Until: to}
	}
	return true, nil
}

// importedFrom is where the import of all datasets begins, backfills that are done included.
func (d *document) importedFrom(importStart time.Time) time.Time {
	for _, t := range []time.Time{d.covered, d.beginning, d.importFrom} {
		if !t.IsZero() {
			return t
		}
	}
	return importStart
}

// CancelBackfill ends the backfill under way; what it has brought stays. It returns once OpenCTI holds that.
func (k *Keeper) CancelBackfill(ctx context.Context) (was Backfill, err error) {
	generation := k.change(func(d *document) bool {
		was = d.backfillUnderWay()
		d.everywhere(func(p *place) { p.backfill = map[string]pipeline.Cursor{} })
		return len(was.Datasets) > 0
	})
	if len(was.Datasets) == 0 {
		return was, nil
	}
	return was, k.store(ctx, generation)
}

// Backfill is what is left of the backfill under way.
func (k *Keeper) Backfill() Backfill {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.doc.backfillUnderWay()
}

// ImportedFrom is where the import of all datasets begins, backfills that are done included; zero before the first run.
func (k *Keeper) ImportedFrom() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.doc.importedFrom(time.Time{})
}

// delivered reports that all of a backfill's window is delivered.
func delivered(c pipeline.Cursor) bool { return c.Pass == nil && !c.Since.Before(c.Until) }

// undelivered are those of a backfill that are not done.
func undelivered(backfill map[string]pipeline.Cursor) map[string]pipeline.Cursor {
	left := maps.Clone(backfill)
	maps.DeleteFunc(left, func(_ string, c pipeline.Cursor) bool { return delivered(c) })
	return left
}

func (d *document) backfillUnderWay() (b Backfill) {
	left := undelivered(d.backfill)
	for _, name := range slices.Sorted(maps.Keys(left)) {
		c := left[name]
		b.Datasets, b.From = append(b.Datasets, name), d.backfillFrom
		if c.Until.After(b.To) {
			b.To = c.Until
		}
	}
	return b
}

// settleBackfill lets the schedule try again what failed of datasets whose backfill is done, and ends it when all are. What the
// schedule does not read is returned.
func (d *document) settleBackfill(enabled []string) (failed []string) {
	for name, c := range d.backfill {
		if !delivered(c) || len(c.Failed)+len(c.Gone) == 0 {
			continue
		}
		if own, found := d.datasets[name]; found {
			own.Failed = slices.Concat(own.Failed, without(c.Failed, own.Failed))
			own.Gone = slices.Concat(own.Gone, without(c.Gone, slices.Concat(own.Failed, own.Gone)))
			d.datasets[name] = own
		} else {
			for _, id := range c.Failed {
				failed = append(failed, name+" "+id)
			}
		}
		d.backfill[name] = pipeline.Cursor{Since: c.Since, Until: c.Until}
	}
	if len(d.backfill) == 0 || len(d.backfillUnderWay().Datasets) > 0 {
		return failed
	}
	whole := true
	for _, name := range enabled {
		c, found := d.backfill[name]
		whole = whole && found && !c.Until.Before(d.covered)
	}
	if whole && d.backfillFrom.Before(d.covered) {
		d.covered = d.backfillFrom
	}
	clear(d.backfill)
	return failed
}

// keepBackfill lets what was ordered since a run began stay, when the state goes back to there. Where nothing tells what was
// delivered it begins again, and so do two that do not agree, over both of their windows.
func (p *place) keepBackfill(now map[string]pipeline.Cursor, fromTheBeginning bool) {
	for name, c := range now {
		old, found := p.backfill[name]
		switch {
		case fromTheBeginning:
			c = pipeline.Cursor{Since: c.Since, Until: c.Until}
		case found && old.Until.Equal(c.Until) && !old.Since.After(c.Since): // else it is one of another order
			c = old
		case found:
			c = pipeline.Cursor{Since: earlier(c.Since, old.Since), Until: c.Until}
			if old.Until.After(c.Until) {
				c.Until = old.Until
			}
		}
		p.backfill[name] = c
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// cursorOf finds a dataset's cursor, be it of the schedule or of the backfill.
func (p place) cursorOf(dataset string) (c pipeline.Cursor, found bool) {
	if name, backfills := strings.CutPrefix(dataset, backfillPrefix); backfills {
		c, found = p.backfill[name]
		return c, found
	}
	c, found = p.datasets[dataset]
	return c, found
}

// move lets a dataset be at a cursor. What was cancelled meanwhile stays so.
func (p *place) move(dataset string, c pipeline.Cursor) {
	name, backfills := strings.CutPrefix(dataset, backfillPrefix)
	if !backfills {
		p.datasets[dataset] = c
		return
	}
	if under, found := p.backfill[name]; found && under.Until.Equal(c.Until) {
		p.backfill[name] = c
	}
}

// sayUnread names items of a backfill that nobody tries again.
func (k *Keeper) sayUnread(items []string) {
	if len(items) > 0 {
		k.cfg.Log.Error("the backfill is done, but for items that could not be read; order it again to try them once more", zap.Strings("items", items))
	}
}
