package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// itemsAPI is what a dataset of items needs of the API; [threatmatch.Client] has it.
type itemsAPI interface {
	serverClock
	List(ctx context.Context, dataset string, since time.Time) ([]string, error)
	ItemWithin(ctx context.Context, dataset, id string, grow func(size int64) error) (threatmatch.Item, error)
}

// Items is the source of a dataset whose items are listed and then fetched one by one: profiles, alerts, reports.
//
// A pass tries the cursor's failed items first, then the listed ones in ascending order. An item that fails is named in
// a problem and in the cursor's Failed; one that failed before and is not found any more is named and dropped. The source
// ends with an error when the list cannot be had, the client is not let in, or so many items fail that it must be the
// API's doing. A pass that was interrupted is finished and followed by a fresh one.
func Items(client itemsAPI, dataset string, opts Options) pipeline.Source {
	return &itemSource{client: client, dataset: dataset, opts: opts.withDefaults()}
}

type itemSource struct {
	client  itemsAPI
	dataset string
	opts    Options
}

func (s *itemSource) Dataset() string { return cmp.Or(s.opts.As, s.dataset) }

func (s *itemSource) Pages(ctx context.Context, from pipeline.Cursor) iter.Seq2[pipeline.Page, error] {
	return func(yield func(pipeline.Page, error) bool) {
		w := &itemWalk{itemSource: s, ctx: ctx, yield: yield, failed: newFailures(from.Failed), known: newFailures(from.Failed), gone: newFailures(from.Gone)}
		err := w.pass(from, true)
		if err == nil && from.Pass != nil && from.Until.IsZero() {
			// What failed a moment ago is left to the next run.
			err = w.pass(w.next, false)
		}
		if err != nil && !errors.Is(err, errUnwanted) {
			yield(pipeline.Page{}, err)
		}
	}
}

// itemWalk is one call of Pages.
type itemWalk struct {
	*itemSource
	ctx    context.Context
	yield  yieldFunc
	failed *failures // as the next cursor will name them
	known  *failures // as the run found them: only these are gone when they are not found
	gone   *failures // as the next cursor will name them

	page   pipeline.Page
	opened time.Time       // when the page under way got its first entry
	held   int64           // of the room, by the items of the page under way
	next   pipeline.Cursor // of the page under way, its Failed apart
	health health
	total  int // items of the pass, in this run
	left   int // of them
}

// pass walks one pass to its end, or returns an error after having handed on what precedes it.
func (w *itemWalk) pass(from pipeline.Cursor, retry bool) error {
	started := start(w.client, from.Since)
	ids, err := w.list(from)
	if err != nil {
		return fmt.Errorf("list %s: %w", w.dataset, err)
	}
	w.next = pipeline.Cursor{Since: from.Since, Until: from.Until, Pass: &pipeline.Pass{}}
	if from.Pass != nil {
		*w.next.Pass = *from.Pass
	} else {
		w.next.Pass.Started = started()
	}
	ids = pending(ids, w.next.Pass.After)
	for _, id := range ids {
		w.gone.remove(id) // it is listed, so it is there: an item like any other
	}
	w.total, w.left = len(ids), len(ids)
	if retry && w.failed.len()+w.gone.len() > 0 {
		again := slices.Concat(w.failed.from(w.next.Pass.Started), w.gone.ids())
		if err := w.walk(again, true); err != nil {
			return w.stop(err)
		}
		if err := w.emit(); err != nil {
			return err
		}
		ids = slices.DeleteFunc(ids, newFailures(again).has)
	}
	w.health = health{}
	w.total, w.left = len(ids), len(ids)
	if err := w.walk(ids, false); err != nil {
		return w.stop(err)
	}
	w.next = pipeline.Cursor{Since: w.next.Pass.Started}
	if !from.Until.IsZero() {
		w.next = pipeline.Cursor{Since: from.Until, Until: from.Until}
	}
	return w.yieldPage()
}

// list finds the ids of what is to be read. The API takes no end of a window: what has changed after it is listed, too, and taken
// away.
func (w *itemWalk) list(from pipeline.Cursor) ([]string, error) {
	ids, err := w.client.List(w.ctx, w.dataset, w.opts.from(from.Since))
	if err != nil || from.Until.IsZero() {
		return ids, err
	}
	end := from.Until.Truncate(time.Minute)
	if end.Before(from.Until) {
		end = end.Add(time.Minute) // the API knows minutes: none of the window may be taken away
	}
	later, err := w.client.List(w.ctx, w.dataset, end)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(ids, newFailures(later).has), nil
}

// pending returns the ids that come after one, in order and each once.
func pending(ids []string, after string) []string {
	if !slices.IsSortedFunc(ids, threatmatch.CompareIDs) {
		ids = slices.SortedFunc(slices.Values(ids), threatmatch.CompareIDs)
	}
	ids = slices.Compact(ids)
	if after == "" {
		return ids
	}
	i, found := slices.BinarySearchFunc(ids, after, threatmatch.CompareIDs)
	if found {
		i++
	}
	return ids[i:]
}

// walk fetches ids in order. Those tried again do not move the pass's position, and do not stop the dataset when they
// fail again: some may never come back.
func (w *itemWalk) walk(ids []string, again bool) error {
	ahead := newFetchAhead(w.ctx, w.opts, ids, func(ctx context.Context, id string, grow func(int64) error) (threatmatch.Item, error) {
		return w.client.ItemWithin(ctx, w.dataset, id, grow)
	})
	defer ahead.close()
	for {
		f := ahead.head()
		if f == nil {
			return w.ctx.Err()
		}
		if err := w.await(f); err != nil {
			return err
		}
		ahead.pop()
		if w.ctx.Err() != nil && f.err != nil {
			return w.ctx.Err()
		}
		if len(w.page.Items)+len(w.page.Problems) >= w.opts.PageItems {
			if err := w.emit(); err != nil {
				return err
			}
		}
		if err := w.take(f, again); err != nil {
			return err
		}
		if !again {
			w.left--
		}
		if w.held >= w.opts.Room.bytes/pageParts {
			f.item = threatmatch.Item{}
			if err := w.emit(); err != nil { // before the next one, which may be as large
				return err
			}
		}
		if again && w.health.streak >= deadStreak {
			return nil
		}
	}
}

// await waits for an item, and hands the page under way on when that takes long.
func (w *itemWalk) await(f *fetched) error {
	select {
	case <-f.done:
		return nil
	default:
	}
	var flush <-chan time.Time
	if len(w.page.Items)+len(w.page.Problems) > 0 {
		timer := time.NewTimer(w.opts.FlushAfter - time.Since(w.opened))
		defer timer.Stop()
		flush = timer.C
	}
	select {
	case <-f.done:
		return nil
	case <-flush:
	}
	if err := w.emit(); err != nil {
		return err
	}
	<-f.done
	return nil
}

// take settles what became of one item: delivered, failed, dropped, or a reason to stop before it.
func (w *itemWalk) take(f *fetched, again bool) error {
	if f.err == nil {
		w.health.count(true, false)
		w.failed.remove(f.id)
		w.gone.remove(f.id)
		w.add()
		w.page.Items = append(w.page.Items, pipeline.Item{Dataset: w.Dataset(), ID: f.id, Data: f.item.Objects, Strict: f.item.Strict})
		w.held += f.held
		w.advance(f.id, again)
		return nil
	}
	if threatmatch.IsUnauthorized(f.err) || threatmatch.IsTokenFailure(f.err) || threatmatch.IsAway(f.err) {
		return f.err
	}
	switch {
	case again && w.gone.has(f.id):
		return nil
	case w.known.has(f.id) && w.failed.has(f.id) && threatmatch.IsNotFound(f.err):
		w.health.count(true, false)
		w.failed.remove(f.id)
		w.giveUp(f.id)
		w.problem(f.id, fmt.Errorf("item does not exist any more: %w", f.err))
		w.advance(f.id, again)
		return nil
	}
	w.gone.remove(f.id)
	if !w.failed.has(f.id) && w.failed.len() >= w.opts.MaxFailed {
		return fmt.Errorf("stop %s: %d items have failed already, and item %s too: %w", w.dataset, w.failed.len(), f.id, f.err)
	}
	w.health.count(false, threatmatch.IsForbidden(f.err))
	w.failed.add(f.id)
	w.problem(f.id, f.err)
	w.advance(f.id, again)
	if verdict := w.health.verdict(); verdict != "" && !again {
		return fmt.Errorf("stop %s: %s, the last of them: %w", w.dataset, verdict, f.err)
	}
	return nil
}

// giveUp counts an item as gone.
func (w *itemWalk) giveUp(id string) {
	if w.gone.len() >= maxGone {
		w.gone.remove(w.gone.ids()[0])
	}
	w.gone.add(id)
}

func (w *itemWalk) add() {
	if len(w.page.Items)+len(w.page.Problems) == 0 {
		w.opened = time.Now()
	}
}

func (w *itemWalk) problem(id string, err error) {
	w.add()
	w.page.Problems = append(w.page.Problems, pipeline.Problem{ID: id, Err: err})
}

func (w *itemWalk) advance(id string, again bool) {
	if !again {
		w.next.Pass.After = id
	}
}

// emit hands the page under way on, if there is anything in it.
func (w *itemWalk) emit() error {
	if len(w.page.Items)+len(w.page.Problems) == 0 {
		return nil
	}
	return w.yieldPage()
}

func (w *itemWalk) yieldPage() error {
	page := w.page
	page.Next = w.next
	page.At = pipeline.Position{Left: w.left, Share: 1}
	if w.total > 0 {
		page.At.Share -= float64(w.left) / float64(w.total)
	}
	if w.next.Pass != nil {
		pass := *w.next.Pass
		page.Next.Pass = &pass
	}
	page.Next.Failed, page.Next.Gone = w.failed.ids(), w.gone.ids()
	w.next.Failed, w.next.Gone = page.Next.Failed, page.Next.Gone
	slices.SortFunc(page.Items, func(a, b pipeline.Item) int { return threatmatch.CompareIDs(a.ID, b.ID) })
	w.page = pipeline.Page{}
	wanted := w.yield(page, nil)
	w.opts.Room.giveBack(w.held)
	w.held = 0
	if !wanted {
		return errUnwanted
	}
	return nil
}

// stop hands on what precedes an error.
func (w *itemWalk) stop(cause error) error {
	if errors.Is(cause, errUnwanted) {
		return cause
	}
	if err := w.emit(); err != nil {
		return err
	}
	if w.ctx.Err() != nil {
		return fmt.Errorf("read %s: %w", w.dataset, w.ctx.Err())
	}
	return cause
}
