package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// indicatorsAPI is what the indicators need of the API; [threatmatch.Client] has it.
type indicatorsAPI interface {
	serverClock
	Groups(ctx context.Context) ([]threatmatch.Group, error)
	IndicatorsWithin(ctx context.Context, groupID, modifiedAfter string, grow func(size int64) error) (threatmatch.IndicatorPage, error)
}

// Indicators is the source of the indicators, read in order of their modified. It delivers each one whichever way the
// API reads the bound of a page, also where they come a little out of order, with dates of the future or without one that can
// be read. It says so in a problem when more indicators share a moment than the API will show, or come in no order.
// A pass that was interrupted is finished and followed by a fresh one.
func Indicators(client indicatorsAPI, opts Options) pipeline.Source {
	return &indicatorSource{client: client, opts: opts.withDefaults()}
}

type indicatorSource struct {
	client indicatorsAPI
	opts   Options
}

func (s *indicatorSource) Dataset() string { return cmp.Or(s.opts.As, IndicatorsDataset) }

func (s *indicatorSource) Pages(ctx context.Context, from pipeline.Cursor) iter.Seq2[pipeline.Page, error] {
	return func(yield func(pipeline.Page, error) bool) {
		err := s.run(ctx, from, yield)
		switch {
		case err == nil || errors.Is(err, errUnwanted):
			return
		case ctx.Err() != nil:
			err = fmt.Errorf("read %s: %w", IndicatorsDataset, ctx.Err())
		}
		yield(pipeline.Page{}, err)
	}
}

func (s *indicatorSource) run(ctx context.Context, from pipeline.Cursor, yield yieldFunc) error {
	group, err := s.group(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &indicatorWalk{indicatorSource: s, ctx: ctx, pager: &pager{client: s.client, group: group, room: s.opts.Room}, yield: yield}
	defer w.close(cancel)
	since, err := w.pass(from)
	if err == nil && from.Pass != nil && from.Until.IsZero() {
		_, err = w.pass(pipeline.Cursor{Since: since})
	}
	return err
}

func (s *indicatorSource) group(ctx context.Context) (string, error) {
	groups, err := s.client.Groups(ctx)
	if err != nil {
		return "", fmt.Errorf("find the group of indicators: %w", err)
	}
	group, err := IndicatorGroup(groups)
	return group.ID, err
}

// indicatorWalk is one call of Pages. It goes through the answers in order of time, whether it asks for one after the other itself
// or they come from slices that are read side by side: what it makes of an answer is the same.
type indicatorWalk struct {
	*indicatorSource
	pager *pager
	ctx   context.Context
	yield yieldFunc

	next   pipeline.Cursor
	at     position
	window time.Time // where the pass began, also one that is resumed
	sizes  pageSizes
	// unsure says that earlier bounds of the pass, in this run or the one before, were asked with the slack of then.
	unsure bool
	// back says that the pass has to be read again, with the slack that is known by now.
	back      bool
	disorder  bool
	repeated  bool // the last answer was none to the bound that was asked, but an older one again
	readable  int  // how many indicators of the last answer have a modified that can be read
	committed string

	asking *asking     // for the next page, while the one before is handed on
	slices *sideBySide // nil where pages are asked for one after another
	sliced int         // how often the reading of this pass in slices has come to an end
}

// close ends what is under way and waits for it.
func (w *indicatorWalk) close(cancel context.CancelFunc) {
	cancel()
	if w.slices != nil {
		w.slices.close()
	}
	if w.asking != nil {
		if a, err := w.asking.wait(); err == nil {
			a.giveBack()
		}
	}
}

// begin takes up where a pass stands.
func (w *indicatorWalk) begin(from pipeline.Cursor) {
	w.next = pipeline.Cursor{Since: from.Since, Until: from.Until, Pass: &pipeline.Pass{}}
	w.window = w.opts.from(from.Since)
	w.at = newPosition(w.window)
	w.sizes, w.unsure, w.disorder, w.committed, w.sliced = pageSizes{}, false, false, "", 0
	if from.Pass != nil {
		*w.next.Pass = *from.Pass
		w.at.resume(from.Pass.After)
		w.committed = from.Pass.After
		w.unsure = w.at.bound.After(newPosition(w.window).bound)
	}
}

// pass walks one pass to its end and returns where the next one begins.
func (w *indicatorWalk) pass(from pipeline.Cursor) (time.Time, error) {
	started := start(w.client, from.Since)
	w.begin(from)
	w.asking = w.ask()
	for first := true; ; first = false {
		a, err := w.answer()
		if err != nil {
			return time.Time{}, err
		}
		if w.next.Pass.Started.IsZero() {
			w.next.Pass.Started = started()
		}
		if first {
			w.at.horizon = w.horizon() // now that the server has told its time
		}
		page, last := w.read(a)
		if w.back {
			w.at.restart(w.window, w.horizon())
			w.unsure, w.sizes = false, pageSizes{}
		}
		// All up to the end of a window is read once nothing of it can come after what the next bound shows.
		last = last || !from.Until.IsZero() && w.at.step(behind).After(from.Until)
		if last = last && !w.back; last {
			since := cmp.Or(from.Until, w.next.Pass.Started)
			page.Next, page.At = pipeline.Cursor{Since: since, Until: from.Until}, pipeline.Position{Until: since, Share: 1}
			w.stopSlices()
			if !w.hand(page, a) {
				return since, errUnwanted
			}
			return since, nil
		}
		news := w.mark(&page)
		w.goOn(a)
		if news && !w.hand(page, a) {
			return time.Time{}, errUnwanted
		}
		a.giveBack()
	}
}

// horizon is where the future begins: a day is what clocks and zones may be apart.
func (w *indicatorWalk) horizon() time.Time { return w.client.Now().Add(24 * time.Hour) }

// read turns an answer into a page without its cursor, and tells whether it is the last one.
func (w *indicatorWalk) read(a *answer) (pipeline.Page, bool) {
	page := pipeline.Page{Items: make([]pipeline.Item, 0, len(a.shown))}
	before := w.at
	var shown dates
	atOrBelow := false
	for i, s := range a.shown {
		if s.readable {
			shown.note(s.when, before.horizon)
			atOrBelow = atOrBelow || !s.when.After(before.top)
		}
		if !w.at.see(s.object, s.identity, s.when, s.readable) {
			continue
		}
		id := s.id
		if id == "" {
			id = fmt.Sprintf("%d. after %s", i+1, before.asked)
		}
		page.Items = append(page.Items, pipeline.Item{Dataset: w.Dataset(), ID: id, Data: s.object, Strict: a.strict})
	}
	last := a.last()
	moved := last || w.at.top.After(before.top)
	if moved && before.cutOff(atOrBelow) && w.sizes.mayHideMore(len(a.shown), before.length) {
		page.Problems = append(page.Problems, pipeline.Problem{Err: cannotReadAll(before.top, before.asked)})
	}
	if w.skipsUnordered(before, shown, last, len(a.shown)) && !w.disorder {
		w.disorder = true
		page.Problems = append(page.Problems, pipeline.Problem{Err: fmt.Errorf(
			"the indicators after %s do not come in order of modified: some of them may be missing", before.asked)})
	}
	lowest := before.bound.Add(-w.at.slack).Truncate(time.Second) // whichever way a bound is rounded
	w.repeated = shown.readable > 0 && shown.oldest.Before(lowest) && len(page.Items) == 0
	w.readable = shown.readable
	w.sizes.note(len(a.shown), a.more && len(page.Items) > 0)
	w.at.length = len(a.shown)
	w.unsure = true
	return page, last
}

// dates are what an answer tells by the modified of its indicators.
type dates struct {
	readable       int
	oldest, newest time.Time     // the newest of those before the horizon
	late           time.Duration // how far one of these came behind a newer one
}

func (d *dates) note(when, horizon time.Time) {
	if d.readable++; d.readable == 1 || when.Before(d.oldest) {
		d.oldest = when
	}
	if when.Before(horizon) {
		d.newest = latest(d.newest, when)
		d.late = max(d.late, d.newest.Sub(when))
	}
}

// slightly is how far an indicator may come behind a newer one for the pass to be read again instead of failing the run. The slack
// at least doubles each time, so that ends.
const slightly = time.Second

// skipsUnordered takes note of how far an indicator of an answer came behind a newer one, and tells whether some may have been
// skipped for that: the one that was asked could not allow for it, or it is so far that those of the next pages can lie anywhere,
// or earlier bounds did not allow for it. Where that is all and it is not far, the pass goes back to where it began.
func (w *indicatorWalk) skipsUnordered(before position, shown dates, last bool, length int) bool {
	tooLate := w.at.loosen(shown.late) && w.unsure
	slight := shown.late <= slightly
	w.back = tooLate && slight
	climbed := before.slack > 0 && before.rung > behind && w.sizes.mayBeFull(length, before.length)
	inNoOrder := !last && shown.late > max(0, shown.newest.Sub(shown.oldest)/4)
	return climbed || !slight && (tooLate || inNoOrder)
}

func cannotReadAll(top time.Time, asked string) error {
	return fmt.Errorf("the API cannot be read completely: more indicators than a page holds seem to share the modified %s, "+
		"and those that no page shows are MISSING; reading goes on after %s. Ask ThreatMatch for larger pages",
		top.Format(time.RFC3339Nano), asked)
}

// reached is how far the pass is on its way to an end.
func (w *indicatorWalk) reached(end time.Time) pipeline.Position {
	at := pipeline.Position{Until: w.at.step(behind)}
	if whole := end.Sub(w.window); whole > 0 {
		at.Share = min(1, max(0, float64(at.Until.Sub(w.window))/float64(whole)))
	}
	return at
}

// mark gives a page that is not the last its cursor, and tells whether it says anything new.
func (w *indicatorWalk) mark(page *pipeline.Page) bool {
	after := w.at.safe()
	if len(page.Items)+len(page.Problems) == 0 && after == w.committed {
		return false
	}
	w.committed = after
	w.next.Pass.After = after
	pass := *w.next.Pass
	page.Next = pipeline.Cursor{Since: w.next.Since, Until: w.next.Until, Pass: &pass}
	page.At = w.reached(cmp.Or(w.next.Until, w.next.Pass.Started))
	return true
}

// hand yields a page, and lets go of its answer.
func (w *indicatorWalk) hand(page pipeline.Page, a *answer) bool {
	wanted := w.yield(page, nil)
	a.giveBack()
	return wanted
}
