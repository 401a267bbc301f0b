package followup

import (
	"context"
	"errors"
	"maps"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/state"
)

// workers is a platform whose workers import so many messages a second.
type workers struct {
	mu       sync.Mutex
	rate     float64
	sent     func(at time.Duration) int // how many were sent until then
	expected int
	began    time.Time
	done     float64
	at       time.Time
	errors   map[string]int
	said     int
	gone     bool
	away     error
	asked    int
}

func (w *workers) ImportProgress(context.Context, string) (opencti.ImportProgress, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	if w.away != nil {
		w.at = time.Now() // its workers get nothing done either
		return opencti.ImportProgress{}, w.away
	}
	if w.gone {
		return opencti.ImportProgress{}, nil
	}
	sent := float64(w.sent(time.Since(w.began)))
	w.done = min(sent, w.done+w.rate*time.Since(w.at).Seconds())
	w.at = time.Now()
	return opencti.ImportProgress{
		WorkAlive: true, Expected: w.expected, Done: int(w.done), Errors: maps.Clone(w.errors), Said: w.said, Messages: int64(sent - w.done),
	}, nil
}

// become changes what the workers do.
func (w *workers) become(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// follow follows a work for some time.
func follow(t *testing.T, w *workers, work state.Work, remembered Rate, during func(s *Share)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w.began, w.at = time.Now(), time.Now()
		s := NewShare(w, func() []state.Work { return []state.Work{work, {ID: "through", Done: true}} })
		s.Recall(remembered)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); s.Follow(ctx) }()
		during(s)
		cancel()
		<-ended
	})
}

func about(got, want float64) bool { return math.Abs(got-want) < want/20 }

func TestWhatWorkersManageIsMeasuredWhileTheyHaveSomethingToDo(t *testing.T) {
	at := func(n int) func(time.Duration) int { return func(time.Duration) int { return n } }
	slowly := func(d time.Duration) int { return int(2 * d.Seconds()) } // two a second
	for _, tt := range []struct {
		name   string
		w      *workers
		open   bool
		rate   float64
		lately float64
		left   time.Duration // 0 for unknown
	}{
		{"after the run", &workers{rate: 5, sent: at(12_000), expected: 12_000}, false, 5, 5, 35 * time.Minute},
		{"during the run", &workers{rate: 5, sent: at(12_000), expected: 12_000}, true, 5, 5, 35 * time.Minute},
		{"what keeps up has no rate", &workers{rate: 500, sent: slowly, expected: 12_000}, true, 0, 2, 0},
		{"what is announced and never comes has none", &workers{rate: 5, sent: at(0), expected: 12_000}, true, 0, 0, 0},
	} {
		follow(t, tt.w, state.Work{ID: "w", Open: tt.open}, Rate{}, func(s *Share) {
			time.Sleep(5*time.Minute + time.Second)
			synctest.Wait()
			got := s.Imports()
			left, known := got.Remaining()
			if got.Expected != 12_000 || !about(float64(got.Done), tt.lately*300) && tt.lately > 0 || !about(got.Lately, tt.lately) && tt.lately > 0 {
				t.Errorf("%s: %+v", tt.name, got)
			}
			if tt.rate == 0 && got.Rate != (Rate{}) || tt.rate > 0 && !about(got.Rate.PerSecond, tt.rate) {
				t.Errorf("%s: the rate is %+v", tt.name, got.Rate)
			}
			if known != (tt.left > 0) || known && !about(left.Seconds(), tt.left.Seconds()) {
				t.Errorf("%s: %s left (%t)", tt.name, left, known)
			}
		})
	}
}

func TestTheRateOutlivesTheWorkAndTheProcess(t *testing.T) {
	earlier := Rate{5.5, time.Date(2025, 4, 17, 15, 24, 0, 0, time.UTC)}
	w := workers{rate: 50, sent: func(time.Duration) int { return 3_000 }, expected: 3_000}
	follow(t, &w, state.Work{ID: "w"}, earlier, func(s *Share) {
		if got := s.Imports().Rate; got != earlier {
			t.Errorf("before the first question: %+v", got)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := s.Imports(); !about(got.Rate.PerSecond, 50) || got.Left() != 0 || got.Lately != 0 {
			t.Errorf("an hour later: %+v", got)
		}
	})
}

func TestWorkersThatStandStillHaveNoTimeLeftToTell(t *testing.T) {
	w := workers{rate: 5, sent: func(time.Duration) int { return 12_000 }, expected: 12_000}
	follow(t, &w, state.Work{ID: "w"}, Rate{}, func(s *Share) {
		time.Sleep(2*time.Minute + time.Second)
		synctest.Wait()
		w.become(func() { w.rate = 0 })
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		got := s.Imports()
		if left, known := got.Remaining(); known || !about(got.Rate.PerSecond, 5) {
			t.Errorf("%s left, %+v", left, got)
		}
	})
}

func TestFailedImportsAreCountedByReason(t *testing.T) {
	w := workers{sent: func(time.Duration) int { return 10 }, expected: 10, errors: map[string]int{"MISSING_REFERENCE_ERROR": 3, "": 2}}
	w.said = 1 // and has said another, which is not among them
	follow(t, &w, state.Work{ID: "w", Said: 2}, Rate{}, func(s *Share) {
		time.Sleep(shareEvery + time.Second)
		synctest.Wait()
		want := map[string]int64{"MISSING_REFERENCE_ERROR": 3, "": 1} // of two without a name the connector has said one itself
		if diff := cmp.Diff(want, s.Imports().Failed); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWhatCannotBeAskedLeavesWhatIsKnown(t *testing.T) {
	w := workers{rate: 5, sent: func(time.Duration) int { return 12_000 }, expected: 12_000}
	follow(t, &w, state.Work{ID: "w"}, Rate{}, func(s *Share) {
		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		before := s.Imports()
		w.become(func() { w.away = errors.New("away") })
		time.Sleep(time.Minute)
		synctest.Wait()
		got := s.Imports()
		if got.Err == nil || got.Done != before.Done || !got.AsOf.Equal(before.AsOf) {
			t.Errorf("while it is away: %+v", got)
		}
		w.become(func() { w.away = nil })
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := s.Imports(); got.Err != nil || got.Done <= before.Done || !about(got.Rate.PerSecond, 5) {
			t.Errorf("when it is back: %+v", got)
		}
		w.become(func() { w.gone = true })
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := s.Imports(); got.Expected != 0 || got.Left() != 0 {
			t.Errorf("of a deleted work: %+v", got)
		}
	})
}

func TestAnOutageSaysNothingOfTheRateAndKeepsNoTimeLeft(t *testing.T) {
	w := workers{rate: 5, sent: func(time.Duration) int { return 500_000 }, expected: 500_000}
	follow(t, &w, state.Work{ID: "w"}, Rate{}, func(s *Share) {
		time.Sleep(2*time.Minute + time.Second)
		synctest.Wait()
		w.become(func() { w.away = errors.New("away") })
		time.Sleep(8 * time.Hour)
		synctest.Wait()
		if left, known := s.Imports().Remaining(); known || s.Imports().Lately != 0 {
			t.Errorf("while nobody knows: %s left, %+v", left, s.Imports())
		}
		w.become(func() { w.away = nil })
		time.Sleep(LookEvery + 4*shareEvery)
		synctest.Wait()
		if got := s.Imports(); !about(got.Rate.PerSecond, 5) || !about(got.Lately, 5) {
			t.Errorf("when it is back: %+v", got)
		}
	})
}

func TestARunIsFollowedFromItsBeginAndADayOfRestCostsNothing(t *testing.T) {
	w := workers{rate: 5, sent: func(time.Duration) int { return 12_000 }, expected: 12_000}
	synctest.Test(t, func(t *testing.T) {
		w.began, w.at = time.Now(), time.Now()
		var open atomic.Bool
		var asked atomic.Int64 // for the works
		s := NewShare(&w, func() (works []state.Work) {
			if asked.Add(1); open.Load() {
				works = append(works, state.Work{ID: "w", Open: true})
			}
			return works
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); s.Follow(ctx) }()
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if n := asked.Load(); n > 1 {
			t.Errorf("it woke %d times though there was nothing to follow", n)
		}
		w.become(func() { w.at = time.Now() })
		over := s.Run()
		synctest.Wait()
		open.Store(true)
		time.Sleep(4 * shareEvery)
		synctest.Wait()
		if got := s.Imports(); got.Done == 0 || got.Lately == 0 {
			t.Errorf("during a run: %+v", got)
		}
		over()
		w.become(func() { w.rate, w.asked = 0, 0 })
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		cancel()
		<-ended
		if w.asked > 24*60+60 {
			t.Errorf("asked %d times in a day in which nothing moved", w.asked)
		}
	})
}

func TestWithoutAWorkNothingIsAsked(t *testing.T) {
	w := workers{sent: func(time.Duration) int { return 0 }}
	follow(t, &w, state.Work{ID: "w", Done: true}, Rate{}, func(*Share) {
		time.Sleep(time.Hour)
		synctest.Wait()
	})
	if w.asked > 0 { // nobody asks any more
		t.Errorf("asked %d times", w.asked)
	}
}
