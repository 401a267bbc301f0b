package fetch

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// sideBySide reads time in slices, several at a time, ahead of the walk, which takes up their answers in order of time. What is
// out of the ordinary it leaves to the walk, which asks for that itself: an answer with indicators out of order or from before its
// bound, more of them at one moment than a page holds, an error.
//
// Nobody who waits for room holds up the walk: the page whose turn it is passes always. Nor can all wait while it is the turn of
// ground that is untaken: who has read the slice before takes the earliest ground there is, again and again, and that is in front
// of it until it is that.
type sideBySide struct {
	*pager
	horizon time.Time
	most    int // slices that are read at a time
	log     *zap.Logger

	ctx     context.Context
	cancel  context.CancelFunc
	workers errgroup.Group

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when anything has changed
	ground  ground
	reading int
	sound   int // answers
	odd     int // slices that were left to the walk
	coarse  bool
	failed  bool // too many were
}

// newSideBySide begins to read from where the first page ends.
func newSideBySide(w *indicatorWalk, first stretch, end time.Time) *sideBySide {
	s := &sideBySide{pager: w.pager, horizon: w.at.horizon, most: w.opts.Concurrency, log: w.opts.Log, coarse: w.at.coarse,
		changed: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(w.ctx)
	s.ground.ctx = s.ctx
	s.ground.add(0, onward(first.to, w.at.fine), end)
	s.ground.note(first)
	for range s.most {
		s.workers.Go(func() error {
			for slice := s.take(); slice != nil; slice = s.take() {
				s.read(slice)
			}
			return nil
		})
	}
	return s
}

// close ends what is under way and waits for it.
func (s *sideBySide) close() {
	s.cancel()
	_ = s.workers.Wait() // its functions return nil
	s.ground.drop(0, len(s.ground.slices))
}

// tell wakes those who wait for a change.
func (s *sideBySide) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// await waits for a change, or until room has come free, and reports false when the reading ends instead. It gives up the lock meanwhile.
func (s *sideBySide) await(freed <-chan struct{}) bool {
	changed := s.changed
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-changed:
		return true
	case <-freed:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// take returns ground to read, nil when there will be none any more. At first few slices are read, so that little is lost where
// there is little, or the API cannot be read like this.
func (s *sideBySide) take() *timeSlice {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.ctx.Err() == nil {
		// Whose turn it is may be taken always: those that read may all wait for theirs, which comes later.
		if s.reading < min(s.most, s.sound+2, s.fitting()) || s.ground.frontUntaken() {
			if slice := s.ground.take(); slice != nil {
				s.reading++
				return slice
			}
			if s.reading == 0 {
				break
			}
		}
		if !s.await(nil) {
			break
		}
	}
	return nil
}

// fitting is how many slices can be read at a time in the room for what lies ready, where a page is as large as the largest of late.
// With more of them all but the one whose turn it is would soon wait for room, and one cursor would go on.
func (s *sideBySide) fitting() int {
	const pages = slicePages / 2 // of a slice lie ready, about: some slices have begun, others are at their end
	return int(max(1, s.ready()/(pages*max(1, s.typical.Load()))))
}

// ready is how many bytes of the room may lie ready for the walk.
func (s *sideBySide) ready() int64 { return s.room.bytes / 8 * 5 }

// read reads a slice, to its end or until that is left to the walk.
func (s *sideBySide) read(slice *timeSlice) {
	// One unit below the beginning, both readings of the bound show all of that.
	at := newPosition(slice.from.Add(-time.Millisecond))
	at.horizon = s.horizon
	for {
		c, goesOn := s.mayAsk(slice, &at)
		if !goesOn {
			return
		}
		a, err := s.ask(s.ctx, c, &at)
		if !s.came(slice, &at, a, err) {
			return
		}
	}
}

// mayAsk waits while so much lies ready of what comes before the slice's next page, or there is no room for that, unless it is the
// turn of that page. It returns false where there is ground to take instead that comes before the slice, which others go on with.
func (s *sideBySide) mayAsk(slice *timeSlice, at *position) (c claim, goesOn bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.coarse && !at.coarse {
		at.coarse = true
		at.set(at.bound)
	}
	c = s.claim(slice.ahead)
	for {
		freed, typical := s.room.watch(), s.room.part(s.typical.Load())
		switch {
		case !slices.Contains(s.ground.slices, slice): // somebody has come to the end before it
			s.reading--
			s.tell()
			return c, false
		case slice.ahead.Err() != nil && len(slice.answers) == 0, s.ctx.Err() != nil: // which the call finds out
			return c, true
		case !s.ground.lie(slice, s.most*slicePages, s.ready()-typical) && s.room.take(typical):
			c.held = typical
			return c, true
		case s.ground.giveUp(slice, at.fine):
			s.reading--
			s.tell()
			return c, false
		}
		s.await(freed)
	}
}

// came takes an answer into a slice, and tells whether that is to be read on.
func (s *sideBySide) came(slice *timeSlice, at *position, a *answer, err error) (goesOn bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.tell()
	defer func() {
		if !goesOn {
			s.reading--
		}
	}()
	index := slices.Index(s.ground.slices, slice)
	switch {
	case err != nil:
		s.leave(index, time.Time{}, err.Error())
		return false
	case index < 0: // somebody has come to the end before it
		a.giveBack()
		return false
	}
	o := a.order()
	if !o.kept {
		a.giveBack()
		s.leave(index, o.newest, "the indicators do not come in order")
		return false
	}
	s.keep(slice, at, a)
	switch {
	case a.saysLast() && s.ground.showsMore(index, at.top, s.horizon):
		s.leave(index, at.top, "an answer says that nothing follows, but more was shown")
		return false
	case a.saysLast():
		s.ground.drop(index+1, len(s.ground.slices))
		slice.stage = read
		return false
	case !at.top.Add(-at.fine).Before(slice.to) && !s.ground.extend(index, at.top, at.fine):
		slice.stage = read
		return false
	case !at.advance() || at.rung > below:
		s.leave(index, at.top, "more indicators than a page holds seem to share a moment")
		return false
	}
	s.ground.ease(index)
	return true
}

// keep lays an answer ready.
func (s *sideBySide) keep(slice *timeSlice, at *position, a *answer) {
	for _, i := range a.shown {
		if i.readable {
			at.note(i.modified, i.when)
		}
	}
	at.ahead = time.Time{} // the future is left to the walk
	a.early, a.begins = true, !slice.begun
	slice.begun = true
	slice.answers = append(slice.answers, a)
	s.sound++
	s.coarse = s.coarse || a.coarse
	if from := slice.top(); at.top.After(from) {
		s.ground.note(stretch{from, at.top})
		slice.came(at.top)
	}
}

// leave leaves what is left of a slice to the walk, up to the newest moment that an answer has shown where that is known.
func (s *sideBySide) leave(index int, shown time.Time, why string) {
	if index < 0 || s.ctx.Err() != nil {
		return
	}
	slice := s.ground.slices[index]
	slice.stage = left
	if !shown.Before(slice.top()) {
		s.ground.cut(index, shown, 0)
	}
	s.odd++
	const tolerated, share = 4, 20
	s.failed = s.failed || s.odd > tolerated && s.odd*share > s.sound
	s.log.Debug("a slice of the indicators is read one page after another", zap.Time("from", slice.top()), zap.Time("to", slice.to),
		zap.Bool("all that follow too", s.failed), zap.String("reason", why))
}

// next waits for the next answer, for a walk that has read all up to a moment. It returns nil when the walk has to ask itself, up
// to the end of the slice. What the walk has shown from kept on can be shown again by the slice that follows.
func (s *sideBySide) next(reached time.Time) (a *answer, kept time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.isOverLocked() {
		slice := s.ground.slices[0]
		kept = slice.to.Add(-time.Millisecond).Truncate(time.Second) // an API may round the bound down
		if slice.ahead.Err() == nil {
			slice.isNext()
			s.tell()
		}
		switch {
		case len(slice.answers) > 0:
			a, slice.answers[0] = slice.answers[0], nil // it has given back its room before the slice is through
			slice.answers = slice.answers[1:]
			s.tell()
			return a, kept, nil
		case slice.stage == read, slice.stage == left && !reached.Before(slice.to):
			s.ground.drop(0, 1)
		case slice.stage == left:
			return nil, kept, nil
		case !s.await(nil):
			return nil, kept, s.ctx.Err()
		}
	}
	return nil, endOfTime, nil
}

// showsMore tells whether indicators of after a moment, but not of the future, lie ready behind the slice whose turn it is.
func (s *sideBySide) showsMore(after time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ground.showsMore(0, after, s.horizon)
}

// isOver tells whether no more answers will come.
func (s *sideBySide) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isOverLocked()
}

func (s *sideBySide) isOverLocked() bool { return s.failed || len(s.ground.slices) == 0 }
