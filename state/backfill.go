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

// window is where a dataset of a backfill is. Its cursor's Since reaches Until when all of it is delivered.
type window struct {
	pipeline.Cursor
	// From is where it begins.
	From time.Time `json:"from"`
	// Order is the number of the order, another one for each.
	Order uint64 `json:"order"`
	// Before is from when on everything was imported before the order; zero for nothing yet.
	Before time.Time `json:"before,omitzero"`
}

// delivered reports that all of the window is.
func (w window) delivered() bool { return w.Pass == nil && !w.Since.Before(w.Until) }

// again is the window from its beginning.
func (w window) again() window {
	w.Cursor = pipeline.Cursor{Since: w.From, Until: w.Until, Failed: w.Failed, Gone: w.Gone}
	return w
}

// over is the window with that of another order, from the beginning.
func (w window) over(old window) window {
	w.From, w.Until, w.Before = earliest(w.From, old.From), later(w.Until, old.Until), earliest(w.Before, old.Before)
	return w.again()
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

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
	// ErrNothingToBackfill says that the window is empty.
	ErrNothingToBackfill = errors.New("there is nothing to backfill")
)

// OrderBackfill lets datasets be imported from a moment on up to another one; a zero one stands for where the schedule's own import
// of each began. It returns what is to do. An order of what is under way already goes on with it. The error wraps ErrOtherBackfill or
// ErrNothingToBackfill; any other says that OpenCTI does not hold the order yet, which stands all the same.
func (k *Keeper) OrderBackfill(ctx context.Context, from, to time.Time, datasets []string) (Backfill, error) {
	from, to = from.UTC().Truncate(time.Second), to.UTC().Truncate(time.Second)
	var refused error
	generation := k.change(func(d *document) (changed bool) {
		changed, refused = d.orderBackfill(from, to, datasets, k.cfg.ImportFrom().UTC(), k.cfg.Enabled)
		return changed
	})
	if refused != nil {
		return k.Backfill(), refused
	}
	return k.Backfill(), k.store(ctx, generation)
}

func (d *document) orderBackfill(from, to time.Time, datasets []string, importStart time.Time, enabled []string) (changed bool, err error) {
	if !to.IsZero() && !from.Before(to) {
		return false, fmt.Errorf("the window ends before it begins: %w", ErrNothingToBackfill)
	}
	if d.importFrom.IsZero() {
		d.importFrom = importStart // or a first run that begins later would begin behind it
	}
	ordered := map[string]window{}
	var end time.Time
	for _, name := range datasets {
		if end = to; end.IsZero() {
			end = d.importedSince(name)
			if !d.isScheduled(name, enabled) {
				end = later(end, time.Now().UTC().Truncate(time.Second))
			}
		}
		if from.Before(end) {
			ordered[name] = window{Cursor: pipeline.Cursor{Since: from, Until: end}, From: from, Order: d.commits + 1, Before: d.beginning}
		}
	}
	if len(ordered) == 0 {
		return false, fmt.Errorf("the schedule imports everything since %s, which an end of the window (--to) imports once more: %w", end.Format(time.RFC3339), ErrNothingToBackfill)
	}
	if under := d.backfillUnderWay(); len(under.Datasets) > 0 {
		if d.isUnderWay(from, to, datasets, enabled) {
			return false, nil
		}
		return false, fmt.Errorf("%s: %w", under, ErrOtherBackfill)
	}
	d.backfill = ordered
	return true, nil
}

// isUnderWay reports whether an order is that of the backfill under way, or is for a part of its window or of its datasets: a duration
// before now is a while later when it is typed again.
func (d *document) isUnderWay(from, to time.Time, datasets, enabled []string) bool {
	for _, name := range datasets {
		w, found := d.backfill[name]
		wider := to.IsZero() && d.isScheduled(name, enabled) && !w.Until.Equal(d.importedSince(name))
		if !found || wider || from.Before(w.From) || !from.Before(w.Until) || to.After(w.Until) {
			return false
		}
	}
	return true
}

// isScheduled reports whether the schedule reads a dataset, or has read it.
func (d *document) isScheduled(name string, enabled []string) bool {
	_, began := d.began[name]
	return began || slices.Contains(enabled, name)
}

// importedSince is where the schedule's import of a dataset began, to the second after it: no moment may lie between.
func (d *document) importedSince(name string) time.Time {
	at := d.importFrom
	if began, found := d.began[name]; found {
		at = began
	} else if c, found := d.datasets[name]; found {
		at = c.Since // of an earlier release, which does not say
	}
	return wholeSecond(at)
}

// wholeSecond is a moment, or the next that is a whole second.
func wholeSecond(at time.Time) time.Time {
	if whole := at.UTC().Truncate(time.Second); whole.Before(at) {
		return whole.Add(time.Second)
	}
	return at.UTC()
}

// CancelBackfill ends the backfill under way; what it has brought stays. It returns once OpenCTI holds that.
func (k *Keeper) CancelBackfill(ctx context.Context) (was Backfill, err error) {
	generation := k.change(func(d *document) bool {
		was = d.backfillUnderWay()
		for _, w := range d.backfill {
			if !slices.Contains(d.cancelled, w.Order) {
				d.cancelled = append(slices.Clip(d.cancelled), w.Order)
			}
		}
		d.beginning = d.beginningWithoutBackfill()
		d.cancelled = d.cancelled[max(0, len(d.cancelled)-mostWorks):] // a work that is older is not remembered
		d.backfill = map[string]window{}
		return len(was.Datasets) > 0
	})
	if len(was.Datasets) == 0 {
		return was, nil
	}
	return was, k.store(ctx, generation)
}

// beginningWithoutBackfill is from when on everything was imported but for the backfill: nothing is to go back to what nobody wants any
// more. Where a part of that is done it counts.
func (d *document) beginningWithoutBackfill() time.Time {
	beginning := d.beginning
	for _, w := range d.backfill {
		if w.delivered() || w.Before.IsZero() || !d.beginning.Equal(w.From) {
			return d.beginning
		}
		beginning = w.Before
	}
	for _, began := range d.began { // some since the order
		beginning = earliest(beginning, began)
	}
	return beginning
}

// Backfill is what is left of the backfill under way.
func (k *Keeper) Backfill() Backfill {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.doc.backfillUnderWay()
}

// ImportedFrom is the earliest moment that the schedule or a backfill has imported from; zero before the first run.
func (k *Keeper) ImportedFrom() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.doc.beginning
}

// undelivered are those of a backfill that are not done.
func undelivered(backfill map[string]window) map[string]window {
	left := maps.Clone(backfill)
	maps.DeleteFunc(left, func(_ string, w window) bool { return w.delivered() })
	return left
}

func (d *document) backfillUnderWay() (b Backfill) {
	left := undelivered(d.backfill)
	for _, name := range slices.Sorted(maps.Keys(left)) {
		b.Datasets = append(b.Datasets, name)
		b.From, b.To = earliest(b.From, left[name].From), later(b.To, left[name].Until)
	}
	return b
}

// settleBackfill lets the schedule try again what failed of datasets whose backfill is done. Where it does not read the dataset that
// is returned. A backfill that is done is remembered as long as a work may turn out to be lost.
func (d *document) settleBackfill(enabled []string) (failed []string) {
	forget := len(d.works) == 0
	for name, w := range d.backfill {
		own, found := d.datasets[name]
		if !found && slices.Contains(enabled, name) { // its first run is to come
			own, found = pipeline.Cursor{Since: d.importFrom}, true
		}
		switch {
		case !w.delivered():
			forget = false
			continue
		case len(w.Failed)+len(w.Gone) == 0:
			continue
		case found:
			own.Failed = slices.Concat(own.Failed, without(w.Failed, own.Failed))
			own.Gone = slices.Concat(own.Gone, without(w.Gone, slices.Concat(own.Failed, own.Gone)))
			d.datasets[name] = own
		default:
			for _, id := range w.Failed {
				failed = append(failed, name+" "+id)
			}
		}
		w.Failed, w.Gone = nil, nil
		d.backfill[name] = w
	}
	if forget {
		clear(d.backfill)
	}
	return failed
}

// keepBackfill decides where a backfill goes on when the state goes back to where a run began, which knew the place's: now is where
// it was until then. What was ordered since stays. Where nothing tells what was delivered all of it begins again, as does an order
// that relied on what another one had brought.
func (p *place) keepBackfill(now map[string]window, cancelled []uint64, fromTheBeginning bool) {
	for name, old := range p.backfill {
		if _, known := now[name]; !known && slices.Contains(cancelled, old.Order) {
			delete(p.backfill, name)
		}
	}
	for name, w := range now {
		old, found := p.backfill[name]
		switch {
		case found && old.Order == w.Order:
			w = old
		case found && slices.Contains(cancelled, old.Order), fromTheBeginning:
			w = w.again()
		case found:
			w = w.over(old)
		}
		p.backfill[name] = w
	}
}

// cursorOf finds a dataset's cursor, be it of the schedule or of the backfill.
func (p place) cursorOf(dataset string) (c pipeline.Cursor, found bool) {
	if name, backfills := strings.CutPrefix(dataset, backfillPrefix); backfills {
		w, found := p.backfill[name]
		return w.Cursor, found
	}
	c, found = p.datasets[dataset]
	return c, found
}

// move lets a dataset be at a cursor that a run has come to, which began at start. One of a backfill that was cancelled since, or
// that another order has replaced, stays where it is.
func (p *place) move(dataset string, c pipeline.Cursor, start place) {
	name, backfills := strings.CutPrefix(dataset, backfillPrefix)
	if !backfills {
		p.datasets[dataset] = c
		return
	}
	if w, found := p.backfill[name]; found && w.Order == start.backfill[name].Order {
		w.Cursor = c
		p.backfill[name] = w
	}
}

// sayUnread names items of a backfill that nobody tries again.
func (k *Keeper) sayUnread(items []string) {
	if len(items) > 0 {
		k.cfg.Log.Error("the backfill is done, but for items that could not be read; order it again to try them once more", zap.Strings("items", items))
	}
}

// sayForgotten says that a backfill goes with a state that is given up.
func (k *Keeper) sayForgotten(was, now document) {
	if under := was.backfillUnderWay(); len(under.Datasets) > 0 && len(now.backfillUnderWay().Datasets) == 0 {
		k.cfg.Log.Error("the backfill under way is forgotten with the state; order it again", zap.Stringer("backfill", under))
	}
	var own time.Time
	for name, c := range was.datasets {
		own = earliest(own, was.importedSince(name), c.Since)
	}
	// Both to the second, or what the schedule's own import has rounded off would be a backfill.
	if now.empty() && !was.beginning.IsZero() && wholeSecond(was.beginning).Before(wholeSecond(own)) {
		k.cfg.Log.Error("what a backfill has brought is forgotten with the state; order it again", zap.Time("from", was.beginning), zap.Time("to", own))
	}
}
