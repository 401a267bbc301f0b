package followup

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/state"
)

const (
	// shareEvery is the time between two questions for how far OpenCTI's workers are while something moves or a run is under way: often
	// enough for a line every 30 seconds. Else they are asked for as often as a work is looked at, see [LookEvery].
	shareEvery = 10 * time.Second
	// movesFor is how long after something was imported more is expected soon.
	movesFor = 2 * time.Minute
	// shareRemembered is how far back the rate looks: long enough that a worker that restarts does not decide it.
	shareRemembered = 10 * time.Minute
	// surely is how many messages workers should have imported that are taken to stand still: what they manage shows when they are
	// back.
	surely = 5
	// leastMeasured is how long workers must have been seen at work before that makes a rate.
	leastMeasured = 10 * time.Second
	// longestMove is the longest time between two answers of which anything is concluded: of a longer one nobody knows what happened in it.
	longestMove = 2 * shareEvery
)

// ProgressTeller tells how far a work is. Its errors are those of [opencti.Client].
type ProgressTeller interface {
	ImportProgress(ctx context.Context, workID string) (opencti.ImportProgress, error)
}

// Imports is what OpenCTI's workers have made of the works that they are not through with.
type Imports struct {
	// Open counts the works.
	Open int
	// Expected and Done are messages, at AsOf, when OpenCTI was last asked, zero for never. Done counts those that failed too.
	Expected, Done int64
	AsOf           time.Time
	// Waiting and WaitingBytes lie in the connector's queue.
	Waiting, WaitingBytes int64
	// Lately is how many messages a second were imported since the last question but three.
	Lately float64
	// Rate is how many the workers manage while there is something to import.
	Rate Rate
	// Failed counts the errors of the works by the platform's name for why, "" for none; the first hundred of each work.
	Failed map[string]int64
	// Err is why OpenCTI could not be asked, nil when it could: then Lately is 0, and the rest is of AsOf.
	Err error
}

// Rate is how many messages a second OpenCTI's workers import while there is something to import; zero for unknown.
type Rate struct {
	PerSecond float64   `json:"per_second"`
	At        time.Time `json:"at,omitzero"` // when it was measured
}

// Left is how many messages are still to be imported.
func (i Imports) Left() int64 { return max(0, i.Expected-i.Done) }

// Remaining is how long the rest takes at the rate measured last; false where that is not known, or nothing moves.
func (i Imports) Remaining() (time.Duration, bool) {
	if i.Rate.PerSecond <= 0 || i.Lately <= 0 || i.Err != nil {
		return 0, false
	}
	return i.Rate.Takes(i.Left()), true
}

// Takes is how long so many messages take; the rate is known.
func (r Rate) Takes(messages int64) time.Duration {
	const longest = 100 * 365 * 24 * 3600 // seconds, far below what a duration holds
	return time.Duration(min(float64(messages)/r.PerSecond, longest) * float64(time.Second))
}

// Share follows how much of what was sent OpenCTI has imported: of a run under way as between two. Its methods may be called from
// any goroutine.
type Share struct {
	platform ProgressTeller
	works    func() []state.Work
	wake     chan struct{} // holds a token when a run has begun

	mu    sync.Mutex // guards all below
	runs  int        // under way
	moved time.Time  // when something was last seen to have been imported
	last  Imports
	seen  map[string]int // how many messages of each work were processed when it was last asked for
	moves []move         // oldest first, of shareRemembered
}

// move is what happened between two questions.
type move struct {
	at      time.Time
	took    time.Duration
	done    int64
	working bool // there was something to import all the time, as far as one can see
}

// NewShare returns what follows the works that a keeper of the state remembers.
func NewShare(platform ProgressTeller, works func() []state.Work) *Share {
	return &Share{platform: platform, works: works, wake: make(chan struct{}, 1), seen: map[string]int{}}
}

// Recall takes up the rate that an earlier process has measured, before anything is followed.
func (s *Share) Recall(r Rate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last.Rate = r
}

// Imports is what was last seen.
func (s *Share) Imports() Imports {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.last
	i.Failed = maps.Clone(i.Failed)
	return i
}

// Run says that a run is under way, whose work is about to be opened, until the returned function is called.
func (s *Share) Run() (ended func()) {
	count := func(n int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.runs += n
	}
	count(1)
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return func() { count(-1) }
}

// Follow asks until ctx ends. Where there is no work to follow it asks nothing, and waits for a run.
func (s *Share) Follow(ctx context.Context) {
	for {
		s.look(ctx)
		var next <-chan time.Time // never
		if wait, follows := s.pause(); follows {
			next = time.After(wait)
		}
		select {
		case <-next:
		case <-s.wake:
		case <-ctx.Done():
			return
		}
	}
}

// pause is the time until the next question, false for none.
func (s *Share) pause() (wait time.Duration, follows bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.runs > 0 || s.last.Open > 0 && time.Since(s.moved) < movesFor:
		return shareEvery, true
	case s.last.Open > 0:
		return LookEvery, true
	}
	return 0, false
}

// look asks once for each work. What cannot be asked leaves what is known.
func (s *Share) look(ctx context.Context) {
	works := slices.DeleteFunc(s.works(), func(w state.Work) bool { return w.Done })
	if len(works) == 0 {
		s.rest()
		return
	}
	now := Imports{Open: len(works), AsOf: time.Now(), Failed: map[string]int64{}}
	seen, closed := map[string]int{}, true
	for _, w := range works {
		p, err := s.platform.ImportProgress(ctx, w.ID)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.fail(len(works), err)
			return
		}
		now.Waiting, now.WaitingBytes = p.Messages, p.Bytes
		if !p.WorkAlive {
			continue
		}
		now.Expected, now.Done = now.Expected+int64(p.Expected), now.Done+int64(p.Done)
		seen[w.ID], closed = p.Done, closed && !w.Open
		for name, n := range p.Errors {
			now.Failed[name] += int64(n)
		}
		now.Failed[""] -= int64(max(0, w.Said-p.Said))
	}
	maps.DeleteFunc(now.Failed, func(_ string, n int64) bool { return n <= 0 })
	s.take(now, seen, closed)
}

// rest forgets works that are followed no more.
func (s *Share) rest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = Imports{Rate: s.last.Rate, AsOf: s.last.AsOf}
	s.seen, s.moves = nil, nil
}

func (s *Share) fail(open int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last.Open, s.last.Err, s.last.Lately = open, err, 0
	s.moves = slices.DeleteFunc(s.moves, func(m move) bool { return !m.working }) // what is left makes the rate
}

// take draws the conclusions from what was seen; closed says that no run adds to the works.
func (s *Share) take(now Imports, seen map[string]int, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.last
	now.Rate = before.Rate
	if now.Done > before.Done || before.AsOf.IsZero() {
		s.moved = now.AsOf
	}
	if took := now.AsOf.Sub(before.AsOf); !before.AsOf.IsZero() && took <= longestMove {
		done := int64(0)
		for id, n := range seen {
			if was, known := s.seen[id]; known {
				done += int64(max(0, n-was))
			}
		}
		// While a run sends, what is announced and not imported may not have been sent yet: the queue tells.
		working := before.Waiting > 0 && now.Waiting > 0 || closed && before.Left() > 0 && now.Left() > 0
		standing := done == 0 && before.Rate.PerSecond*took.Seconds() >= surely
		s.moves = append(s.moves, move{now.AsOf, took, done, working && !standing})
	}
	s.moves = slices.DeleteFunc(s.moves, func(m move) bool { return now.AsOf.Sub(m.at) > shareRemembered })
	now.Lately = perSecond(s.moves[max(0, len(s.moves)-4):], func(move) bool { return true })
	if rate := perSecond(s.moves, func(m move) bool { return m.working }); rate > 0 {
		now.Rate = Rate{rate, now.AsOf}
	}
	s.last, s.seen = now, seen
}

// perSecond is how much moved a second, 0 where too little time counts.
func perSecond(moves []move, counts func(move) bool) float64 {
	var done int64
	var took time.Duration
	for _, m := range moves {
		if counts(m) {
			done, took = done+m.done, took+m.took
		}
	}
	if took < leastMeasured {
		return 0
	}
	return float64(done) / took.Seconds()
}
