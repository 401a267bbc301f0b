package threatmatch

import (
	"sync"
	"time"

	"go.uber.org/zap"
)

// silence tells that nothing comes from the API for a while, whatever it is that calls wait for: an attempt that hangs, the pause
// that a 429 asks for, or an API that is away.
type silence struct {
	log      *zap.Logger
	patience time.Duration
	after    time.Duration // a silence is told of

	mu    sync.Mutex
	heard time.Time // when the API answered last
	last  error     // what an attempt has failed with since then
	since time.Time // when the silence began that was told of, zero where none was
}

// watched is a call that waits for its answer.
type watched struct {
	*silence
	began time.Time
	timer *time.Timer
	ended bool
}

// watch looks after a call that begins, until its end.
func (s *silence) watch() *watched {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &watched{silence: s, began: time.Now()}
	w.timer = time.AfterFunc(s.after, w.look)
	return w
}

func (w *watched) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.timer.Stop()
}

// look tells when nothing has come since the call began, once until something comes, and goes on looking.
func (w *watched) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	begin := w.began
	if w.heard.After(begin) {
		begin = w.heard
	}
	if w.ended {
		return
	}
	lasted := time.Since(begin)
	if lasted < w.after {
		w.timer.Reset(w.after - lasted)
		return
	}
	w.timer.Reset(w.after)
	if !w.since.IsZero() {
		return
	}
	w.since = begin
	w.log.Error("ThreatMatch does not answer; the run waits, and goes on by itself when it does",
		zap.Duration("for", lasted), zap.Duration("waits_at_most", w.patience), zap.Error(w.last))
}

// failed notes that an attempt has failed as if nobody had answered.
func (s *silence) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = err
}

// answered notes that the API has answered what it was asked for, or is about to, at the level of the alarm where there was one.
func (s *silence) answered() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard, s.last = time.Now(), nil
	if !s.since.IsZero() {
		s.log.Error("ThreatMatch answers again; the run goes on", zap.Duration("after", time.Since(s.since)))
		s.since = time.Time{}
	}
}
