package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// indicatorsAPI is what the indicators need of the API; [threatmatch.Client] has it.
type indicatorsAPI interface {
	serverClock
	Groups(ctx context.Context) ([]threatmatch.Group, error)
	Indicators(ctx context.Context, groupID, modifiedAfter string) (threatmatch.IndicatorPage, error)
}

// allContent is the group that holds every indicator.
const allContent = "All content"

// Indicators is the source of the indicators, read in order of their modified. It delivers each one whichever way the
// API reads the bound of a page, also where they come a little out of order, with dates of the future or without one that can
// be read. It says so in a problem when more indicators share a moment than the API will show, or come in no order.
// A pass that was interrupted is finished and followed by a fresh one.
func Indicators(client indicatorsAPI, opts Options) pipeline.Source {
	return &indicatorSource{client: client, opts: opts}
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
	w := &indicatorWalk{indicatorSource: s, ctx: ctx, group: group, yield: yield}
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

// IndicatorGroup picks the group of which the indicators are read. The error names the groups that there are instead.
func IndicatorGroup(groups []threatmatch.Group) (threatmatch.Group, error) {
	for _, same := range []func(a, b string) bool{func(a, b string) bool { return a == b }, strings.EqualFold} {
		for _, g := range groups {
			if g.ID != "" && same(strings.TrimSpace(g.Name), allContent) {
				return g, nil
			}
		}
	}
	const shown = 20
	names := make([]string, 0, shown)
	for _, g := range groups[:min(len(groups), shown)] {
		names = append(names, fmt.Sprintf("%.60q", g.Name))
	}
	there := "there are no groups at all"
	if len(names) > 0 {
		there = fmt.Sprintf("there are %d: %s", len(groups), strings.Join(names, ", "))
	}
	return threatmatch.Group{}, fmt.Errorf("find the group of indicators: no group is named %q, %s; ask ThreatMatch for access to it", allContent, there)
}

// indicatorWalk is one call of Pages.
type indicatorWalk struct {
	*indicatorSource
	ctx   context.Context
	group string
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
}

// pass walks one pass to its end and returns where the next one begins.
func (w *indicatorWalk) pass(from pipeline.Cursor) (time.Time, error) {
	started := start(w.client, from.Since)
	w.next = pipeline.Cursor{Since: from.Since, Until: from.Until, Pass: &pipeline.Pass{}}
	w.window = w.opts.from(from.Since)
	w.at = newPosition(w.window)
	w.sizes, w.unsure, w.disorder, w.committed = pageSizes{}, false, false, ""
	if from.Pass != nil {
		*w.next.Pass = *from.Pass
		w.at.resume(from.Pass.After)
		w.committed = from.Pass.After
		w.unsure = w.at.bound.After(newPosition(w.window).bound)
	}
	for first := true; ; first = false {
		answer, err := w.ask()
		if err != nil {
			return time.Time{}, err
		}
		if w.next.Pass.Started.IsZero() {
			w.next.Pass.Started = started()
		}
		if first {
			w.at.horizon = w.horizon() // now that the server has told its time
		}
		page, last := w.read(answer)
		if w.back {
			w.at.restart(w.window, w.horizon())
			w.unsure, w.sizes = false, pageSizes{}
		}
		// All up to the end of a window is read once nothing of it can come after what the next bound shows.
		last = last || !from.Until.IsZero() && w.at.step(behind).After(from.Until)
		if last && !w.back {
			since := cmp.Or(from.Until, w.next.Pass.Started)
			page.Next, page.At = pipeline.Cursor{Since: since, Until: from.Until}, pipeline.Position{Until: since, Share: 1}
			if !w.yield(page, nil) {
				return since, errUnwanted
			}
			return since, nil
		}
		if err := w.hand(page); err != nil {
			return time.Time{}, err
		}
		if !w.back && (w.repeated || !w.at.advance()) {
			return time.Time{}, fmt.Errorf("read %s: the API answers with the same page whatever modifiedAfter says, up to %s "+
				"(%d of its indicators have a modified that can be read); everything up to there is read, the rest cannot be",
				IndicatorsDataset, w.at.asked, w.readable)
		}
	}
}

// horizon is where the future begins: a day is what clocks and zones may be apart.
func (w *indicatorWalk) horizon() time.Time { return w.client.Now().Add(24 * time.Hour) }

// ask gets the page at the position. An API that takes milliseconds only gets them: a bound rounded down misses nothing.
func (w *indicatorWalk) ask() (threatmatch.IndicatorPage, error) {
	answer, err := w.client.Indicators(w.ctx, w.group, w.at.asked)
	var refused *threatmatch.Error
	if errors.As(err, &refused) && refused.Status == http.StatusBadRequest && w.at.coarsen() {
		answer, err = w.client.Indicators(w.ctx, w.group, w.at.asked)
	}
	return answer, err
}

// read turns an answer into a page without its cursor, and tells whether it is the last one.
func (w *indicatorWalk) read(answer threatmatch.IndicatorPage) (pipeline.Page, bool) {
	page := pipeline.Page{Items: make([]pipeline.Item, 0, len(answer.Objects))}
	before := w.at
	var shown dates
	atOrBelow := false
	for i, object := range answer.Objects {
		id, modified := identify(object)
		when, ok := readModified(modified)
		if ok {
			shown.note(when, before.horizon)
			atOrBelow = atOrBelow || !when.After(before.top)
		}
		if !w.at.see(object, id, modified, when, ok) {
			continue
		}
		if id == "" {
			id = fmt.Sprintf("%d. after %s", i+1, before.asked)
		}
		page.Items = append(page.Items, pipeline.Item{Dataset: w.Dataset(), ID: id, Data: object})
	}
	last := !answer.More || len(answer.Objects) == 0
	moved := last || w.at.top.After(before.top)
	if moved && before.cutOff(atOrBelow) && w.sizes.mayHideMore(len(answer.Objects), before.length) {
		page.Problems = append(page.Problems, pipeline.Problem{Err: cannotReadAll(before.top, before.asked)})
	}
	if w.skipsUnordered(before, shown, last, len(answer.Objects)) && !w.disorder {
		w.disorder = true
		page.Problems = append(page.Problems, pipeline.Problem{Err: fmt.Errorf(
			"the indicators after %s do not come in order of modified: some of them may be missing", before.asked)})
	}
	lowest := before.bound.Add(-w.at.slack).Truncate(time.Second) // whichever way a bound is rounded
	w.repeated = shown.readable > 0 && shown.oldest.Before(lowest) && len(page.Items) == 0
	w.readable = shown.readable
	w.sizes.note(len(answer.Objects), answer.More && len(page.Items) > 0)
	w.at.length = len(answer.Objects)
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

// hand yields a page that is not the last, unless it says nothing new.
func (w *indicatorWalk) hand(page pipeline.Page) error {
	after := w.at.safe()
	if len(page.Items)+len(page.Problems) == 0 && after == w.committed {
		return nil
	}
	w.committed = after
	w.next.Pass.After = after
	pass := *w.next.Pass
	page.Next = pipeline.Cursor{Since: w.next.Since, Until: w.next.Until, Pass: &pass}
	page.At = w.reached(cmp.Or(w.next.Until, w.next.Pass.Started))
	if !w.yield(page, nil) {
		return errUnwanted
	}
	return nil
}
