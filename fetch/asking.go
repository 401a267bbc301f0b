package fetch

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// asking is a page that is asked for while the one before is handed on.
type asking struct {
	a      *answer
	err    error
	done   chan struct{}
	isNext context.CancelFunc // says that it is the page's turn
}

// ask asks for the page at the position.
func (w *indicatorWalk) ask() *asking {
	ahead, isNext := context.WithCancel(w.ctx)
	k := &asking{done: make(chan struct{}), isNext: isNext}
	at := w.at
	go func() {
		defer close(k.done)
		k.a, k.err = w.pager.ask(w.ctx, w.pager.claim(ahead), &at)
	}()
	return k
}

func (k *asking) wait() (*answer, error) {
	k.isNext()
	<-k.done
	return k.a, k.err
}

// answer waits for the next answer in order of time.
func (w *indicatorWalk) answer() (*answer, error) {
	if w.slices != nil {
		a, kept, err := w.slices.next(w.at.step(behind))
		if a != nil || err != nil {
			w.takeUp(a, kept)
			return a, err
		}
		// What comes next is not read yet, or its slice has led nowhere.
		if w.slices.isOver() {
			w.stopSlices()
		}
		w.at.kept = kept
		if err := w.lead(); err != nil {
			return nil, err
		}
		w.asking = w.ask()
	}
	a, err := w.asking.wait()
	w.asking = nil
	if err == nil {
		a.early = a.saysLast() && w.showsMore(latest(w.at.top, a.newest(w.at.horizon)))
		w.at.follow(a)
	}
	return a, err
}

// takeUp moves the position to an answer of a slice. A slice shows again what the walk has seen behind its beginning, which is
// remembered until then.
func (w *indicatorWalk) takeUp(a *answer, kept time.Time) {
	if a == nil {
		return
	}
	if !a.begins {
		w.at.kept = earliest(kept, a.bound.Truncate(time.Millisecond))
		w.at.forget()
	}
	w.at.follow(a)
	w.at.rung = below
}

// goOn sees to it that what comes after an answer is asked for before that is handed on.
func (w *indicatorWalk) goOn(a *answer) {
	if w.slices != nil {
		if !w.back && !w.disorder && w.at.slack == 0 {
			return
		}
		w.opts.Log.Debug("indicators are read one page after another from here on: they do not quite come in order", zap.String("after", a.asked))
		w.stopSlices()
	}
	if w.slice(a); w.slices != nil {
		return
	}
	if err := w.lead(); err != nil {
		w.asking = &asking{err: err, done: make(chan struct{}), isNext: func() {}}
		close(w.asking.done)
		return
	}
	w.asking = w.ask()
}

// lead moves the position to the bound of the next page.
func (w *indicatorWalk) lead() error {
	if w.back || !w.repeated && w.advance() {
		return nil
	}
	return fmt.Errorf("read %s: the API answers with the same page whatever modifiedAfter says, up to %s "+
		"(%d of its indicators have a modified that can be read); everything up to there is read, the rest cannot be",
		IndicatorsDataset, w.at.asked, w.readable)
}

// showsMore tells whether a slice ahead has shown indicators of after a moment.
func (w *indicatorWalk) showsMore(after time.Time) bool {
	return w.slices != nil && w.slices.showsMore(after)
}

// advance moves the position on, into the future only when nothing else is left to read.
func (w *indicatorWalk) advance() bool {
	ahead := w.at.ahead
	if w.showsMore(w.at.top) {
		w.at.ahead = time.Time{}
	}
	defer func() { w.at.ahead = latest(w.at.ahead, ahead) }()
	return w.at.advance()
}

const (
	// fewPages are not worth slices.
	fewPages = 4
	// mostSliced is how often a pass is read in slices: an answer that says the end too early costs those, but not for the rest of it,
	// as does anything else that is odd.
	mostSliced = 3
)

// slice begins to read what comes after an answer in slices, where that seems to be much and the API behaves.
func (w *indicatorWalk) slice(a *answer) {
	o := a.order()
	if w.opts.Concurrency < 2 || w.sliced == mostSliced || w.back || w.disorder || w.at.slack > 0 || !a.more || !o.kept || !o.newest.Before(w.at.horizon) {
		return
	}
	end := w.next.Pass.Started
	if until := w.next.Until; !until.IsZero() {
		end = until.Truncate(time.Millisecond).Add(time.Millisecond)
	}
	took := w.at.top.Sub(o.oldest)
	if took <= 0 || end.Sub(w.at.top) < fewPages*took {
		return
	}
	w.opts.Log.Debug("indicators are read in slices of time, side by side", zap.Time("from", w.at.top), zap.Time("to", end), zap.Int("at_most", w.opts.Concurrency))
	w.slices = newSideBySide(w, stretch{o.oldest, w.at.top}, end)
}

// stopSlices ends the reading in slices, for the rest of the pass where anything was odd. What they have read and was not handed on is read again.
func (w *indicatorWalk) stopSlices() {
	if w.slices == nil {
		return
	}
	w.slices.close()
	if w.sliced++; w.slices.odd > 0 || w.disorder || w.at.slack > 0 {
		w.sliced = mostSliced
	}
	w.slices, w.at.kept = nil, endOfTime
}
