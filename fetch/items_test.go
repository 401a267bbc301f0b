package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2025, 4, 17, 12, 0, 0, 0, time.UTC)

// itemServer is an API of items in memory.
type itemServer struct {
	mu      sync.Mutex
	ids     []string
	fail    map[string]error
	delay   func(id string) time.Duration
	ahead   time.Duration
	listErr error
	now     time.Time
	since   []time.Time
	asked   []string
	flying  int
	most    int
	onList  func()
}

func (s *itemServer) Now() time.Time       { return s.now.Add(-s.ahead) }
func (s *itemServer) Ahead() time.Duration { return s.ahead }

func (s *itemServer) List(ctx context.Context, _ string, since time.Time) ([]string, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	s.since = append(s.since, since)
	if s.onList != nil {
		s.onList()
	}
	return slices.Clone(s.ids), s.listErr
}

func (s *itemServer) ItemWithin(ctx context.Context, _, id string, _ func(int64) error) (threatmatch.Item, error) {
	s.mu.Lock()
	s.asked = append(s.asked, id)
	s.flying++
	s.most = max(s.most, s.flying)
	err, delay := s.fail[id], s.delay
	s.mu.Unlock()
	if delay != nil {
		select {
		case <-time.After(delay(id)):
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	s.mu.Lock()
	s.flying--
	s.mu.Unlock()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return threatmatch.Item{}, err
	}
	return threatmatch.Item{Objects: json.RawMessage(`["` + id + `"]`)}, nil
}

func status(code int) error {
	return &threatmatch.Error{Op: "read item", Path: "/x", Status: code}
}

func numbers(from, to int) (ids []string) {
	for i := from; i <= to; i++ {
		ids = append(ids, strconv.Itoa(i))
	}
	return ids
}

// outcome is what one run brought.
type outcome struct {
	pages    []pipeline.Page
	items    []string
	problems []string
	last     pipeline.Cursor
	err      error
}

func run(ctx context.Context, s pipeline.Source, from pipeline.Cursor, mostPages int) (o outcome) {
	o.last = from
	for page, err := range s.Pages(ctx, from) {
		if err != nil {
			o.err = err
			continue // a source that goes on after an error shows up as a later page
		}
		if o.err != nil {
			panic("a page after an error")
		}
		o.pages = append(o.pages, page)
		o.last = page.Next
		for _, i := range page.Items {
			o.items = append(o.items, i.ID)
		}
		for _, p := range page.Problems {
			o.problems = append(o.problems, p.ID)
		}
		if len(o.pages) == mostPages {
			break
		}
	}
	return o
}

func TestAPassDeliversEveryItemInOrderAndEndsAtItsStart(t *testing.T) {
	s := &itemServer{ids: []string{"10", "9", "b", "a", "100", "9"}, now: noon}
	o := run(t.Context(), Items(s, "alerts", Options{PageItems: 2}), pipeline.Cursor{Since: noon.Add(-time.Hour)}, 0)
	if want := []string{"9", "10", "100", "a", "b"}; o.err != nil || !slices.Equal(o.items, want) {
		t.Fatalf("%v %v", o.items, o.err)
	}
	if len(o.pages) != 3 || o.pages[0].Next.Pass.After != "10" || !o.pages[0].Next.Pass.Started.Equal(noon) {
		t.Errorf("%d pages, the first ends at %+v", len(o.pages), o.pages[0].Next.Pass)
	}
	if o.last.Pass != nil || !o.last.Since.Equal(noon) {
		t.Errorf("ends at %+v", o.last)
	}
}

func TestAnEmptyPassIsOnePageThatMovesOn(t *testing.T) {
	s := &itemServer{now: noon}
	o := run(t.Context(), Items(s, "alerts", Options{}), pipeline.Cursor{}, 0)
	if o.err != nil || len(o.pages) != 1 || len(o.items) != 0 || !o.last.Since.Equal(noon) || o.last.Pass != nil {
		t.Errorf("%+v", o)
	}
}

func TestAPassStartsNoLaterThanTheServersClock(t *testing.T) {
	s := &itemServer{now: noon, ids: []string{"1"}}
	s.onList = func() { s.ahead = 5 * time.Minute } // the first answer shows that the local clock is ahead
	o := run(t.Context(), Items(s, "alerts", Options{}), pipeline.Cursor{}, 0)
	if want := noon.Add(-5 * time.Minute); !o.last.Since.Equal(want) {
		t.Errorf("next pass begins at %s, want %s", o.last.Since, want)
	}
}

func TestAResumedPassIsFinishedAndFollowedByAFreshOne(t *testing.T) {
	s := &itemServer{ids: numbers(1, 6), now: noon}
	since, started := noon.Add(-48*time.Hour), noon.Add(-24*time.Hour)
	from := pipeline.Cursor{Since: since, Pass: &pipeline.Pass{Started: started, After: "4"}}
	o := run(t.Context(), Items(s, "alerts", Options{}), from, 0)
	if want := []string{"5", "6", "1", "2", "3", "4", "5", "6"}; o.err != nil || !slices.Equal(o.items, want) {
		t.Errorf("%v %v", o.items, o.err)
	}
	if !slices.EqualFunc(s.since, []time.Time{since, started}, time.Time.Equal) || !o.last.Since.Equal(noon) || o.last.Pass != nil {
		t.Errorf("listed since %v, ends at %+v", s.since, o.last)
	}
}

func TestAnItemThatFailsCostsItselfAndIsTriedFirstByTheNextRun(t *testing.T) {
	s := &itemServer{ids: numbers(1, 5), now: noon, fail: map[string]error{"2": status(500), "4": status(404)}}
	src := Items(s, "alerts", Options{Concurrency: 1})
	o := run(t.Context(), src, pipeline.Cursor{}, 0)
	failed := []string{"2", "4"}
	if o.err != nil || !slices.Equal(o.items, []string{"1", "3", "5"}) || !slices.Equal(o.problems, failed) || !slices.Equal(o.last.Failed, failed) {
		t.Fatalf("%+v", o)
	}
	delete(s.fail, "2")
	s.ids, s.asked = []string{"2", "7"}, nil
	o = run(t.Context(), src, o.last, 0)
	if o.err != nil || !slices.Equal(o.items, []string{"2", "7"}) || !slices.Equal(o.problems, []string{"4"}) || len(o.last.Failed) != 0 {
		t.Errorf("%+v", o)
	}
	if first := slices.Sorted(slices.Values(s.asked[:2])); !slices.Equal(first, failed) || len(s.asked) != 3 {
		t.Errorf("asked for %v", s.asked)
	}
}

func TestADatasetStopsWhenItIsTheAPIThatFails(t *testing.T) {
	var token error = &threatmatch.Error{Op: "get token", Status: 401}
	for name, tc := range map[string]struct {
		fail      func(i int) error
		opts      Options
		delivered int
		failed    int
		says      string
	}{
		"all fail":         {func(int) error { return status(500) }, Options{}, 0, deadHalf, "of the last"},
		"all forbidden":    {func(int) error { return status(403) }, Options{}, 0, allForbidden, "forbidden"},
		"half fail":        {func(i int) error { return when(i%2 == 0, status(500)) }, Options{}, deadHalf, deadHalf, "of the last"},
		"too many to keep": {func(i int) error { return when(i%10 == 0, status(500)) }, Options{MaxFailed: 3}, 36, 3, "have failed already"},
		"not let in":       {func(i int) error { return when(i > 50, token) }, Options{}, 50, 0, "get token"},
		"a third fails":    {func(i int) error { return when(i%3 == 0, status(500)) }, Options{}, 67, 33, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := &itemServer{ids: numbers(1, 100), now: noon, fail: map[string]error{}}
			for i := 1; i <= 100; i++ {
				if err := tc.fail(i); err != nil {
					s.fail[strconv.Itoa(i)] = err
				}
			}
			o := run(t.Context(), Items(s, "alerts", tc.opts), pipeline.Cursor{}, 0)
			if tc.says == "" && o.err != nil || tc.says != "" && (o.err == nil || !strings.Contains(o.err.Error(), tc.says)) {
				t.Errorf("error %v, want %q", o.err, tc.says)
			}
			if len(o.items) != tc.delivered || len(o.last.Failed) != tc.failed {
				t.Errorf("%d delivered, %d failed, want %d and %d", len(o.items), len(o.last.Failed), tc.delivered, tc.failed)
			}
			if o.err != nil && (o.last.Pass == nil && len(o.pages) > 0 || o.last.Pass != nil && o.last.Pass.After != strconv.Itoa(tc.delivered+tc.failed)) {
				t.Errorf("the cursor %+v claims other than what is delivered or failed", o.last.Pass)
			}
		})
	}
}

func when(yes bool, err error) error {
	if yes {
		return err
	}
	return nil
}

func TestItemsThatNeverComeBackDoNotStopTheDataset(t *testing.T) {
	s := &itemServer{ids: numbers(1000, 1010), now: noon, fail: map[string]error{}}
	for _, id := range numbers(1, 300) {
		s.fail[id] = status(500)
	}
	tried := map[string]bool{}
	for i := range 200 {
		s.now, s.asked = noon.Add(time.Duration(i)*time.Hour+time.Duration(i*i)*time.Second), nil
		o := run(t.Context(), Items(s, "alerts", Options{}), pipeline.Cursor{Failed: numbers(1, 300)}, 0)
		if o.err != nil || len(o.items) != 11 || len(o.last.Failed) != 300 {
			t.Fatalf("run %d: %d items, %d failed, %v", i, len(o.items), len(o.last.Failed), o.err)
		}
		for _, id := range o.problems {
			tried[id] = true
		}
	}
	if len(tried) != 300 {
		t.Errorf("only %d of 300 failed items ever got their turn", len(tried))
	}
}

func TestAListThatFailsStopsTheDatasetWhereItWas(t *testing.T) {
	s := &itemServer{listErr: status(500), now: noon}
	o := run(t.Context(), Items(s, "alerts", Options{}), pipeline.Cursor{}, 0)
	if len(o.pages) != 0 || o.err == nil {
		t.Errorf("%+v", o)
	}
}

func TestASlowItemNeitherIdlesTheOthersNorHoldsThePageBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &itemServer{ids: numbers(1, 100), now: noon, delay: func(id string) time.Duration {
			if id == "5" {
				return 30 * time.Second
			}
			return time.Second
		}}
		begin := time.Now()
		var firstAt time.Duration
		var delivered int
		for page, err := range Items(s, "alerts", Options{}).Pages(t.Context(), pipeline.Cursor{}) {
			if err != nil {
				t.Fatal(err)
			}
			if firstAt == 0 {
				firstAt = time.Since(begin)
			}
			delivered += len(page.Items)
		}
		if took := time.Since(begin); delivered != 100 || took > 41*time.Second {
			t.Errorf("%d items in %s", delivered, took)
		}
		if firstAt > 4*time.Second {
			t.Errorf("the first page came after %s", firstAt)
		}
		if s.most > defaultConcurrency {
			t.Errorf("%d at once", s.most)
		}
	})
}

func TestTheEndOfTheContextKeepsWhatIsThereAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		s := &itemServer{ids: numbers(1, 100), now: noon, delay: func(string) time.Duration { return time.Second }}
		o := run(ctx, Items(s, "alerts", Options{}), pipeline.Cursor{}, 0)
		if !errors.Is(o.err, context.DeadlineExceeded) || len(o.items) != 16 || o.last.Pass.After != "16" || len(o.last.Failed) != 0 {
			t.Errorf("%v: %d items, %+v", o.err, len(o.items), o.last)
		}
	})
}

func TestWhoeverStopsRangingLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &itemServer{ids: numbers(1, 100), now: noon, delay: func(string) time.Duration { return time.Second }}
		if o := run(t.Context(), Items(s, "alerts", Options{PageItems: 3}), pipeline.Cursor{}, 2); len(o.items) != 6 || s.flying != 0 {
			t.Errorf("%d items, %d still flying", len(o.items), s.flying)
		}
	})
}

// TestNothingListedIsLost interrupts passes over items that fail at random, again and again.
func TestNothingListedIsLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 60).Draw(t, "items")
		s := &itemServer{now: noon, fail: map[string]error{}}
		opts := Options{
			PageItems:   rapid.IntRange(1, 10).Draw(t, "page"),
			Concurrency: rapid.IntRange(1, 4).Draw(t, "workers"),
			MaxFailed:   rapid.IntRange(1, 80).Draw(t, "most failed"),
		}
		listed := map[string]bool{}
		for i := range n {
			id := fmt.Sprint(rapid.IntRange(0, 1000).Draw(t, "id"))
			if i%7 == 0 {
				id = "x" + id
			}
			s.ids = append(s.ids, id)
			listed[id] = true
		}
		codes := rapid.SampledFrom([]int{0, 0, 0, 0, 404, 500, 403, http.StatusUnauthorized})
		delivered, dropped := map[string]bool{}, map[string]bool{}
		var at pipeline.Cursor
		for attempt := range 12 {
			clear(s.fail)
			if attempt < 8 {
				for _, id := range s.ids {
					if code := codes.Draw(t, "answer"); code != 0 {
						s.fail[id] = status(code)
					}
				}
			}
			mostPages := rapid.IntRange(1, 6).Draw(t, "killed after page")
			if attempt >= 8 {
				mostPages = 0
			}
			s.now = noon.Add(time.Duration(attempt) * time.Hour)
			o := run(context.Background(), Items(s, "alerts", opts), at, mostPages)
			for _, page := range o.pages {
				before := at
				at = page.Next
				for _, i := range page.Items {
					delivered[i.ID] = true
				}
				for _, p := range page.Problems {
					if !slices.Contains(at.Failed, p.ID) {
						if !slices.Contains(before.Failed, p.ID) {
							t.Fatalf("%s failed for the first time and is forgotten", p.ID)
						}
						dropped[p.ID] = true
					}
				}
				checkCursor(t, at, listed, delivered, dropped, opts)
			}
			if o.err == nil && mostPages == 0 && at.Pass != nil {
				t.Fatal("a run without an error did not end its pass")
			}
		}
		if at.Pass != nil || len(at.Failed) > 0 {
			t.Fatalf("a good run left %+v", at)
		}
		for id := range listed {
			if !delivered[id] && !dropped[id] {
				t.Fatalf("%s is lost", id)
			}
		}
	})
}

// checkCursor holds a cursor to its word: all that it claims is delivered, failed, or named as gone.
func checkCursor(t *rapid.T, at pipeline.Cursor, listed, delivered, dropped map[string]bool, opts Options) {
	if len(at.Failed) > opts.MaxFailed || !slices.IsSortedFunc(at.Failed, threatmatch.CompareIDs) {
		t.Fatalf("failed items %v", at.Failed)
	}
	for id := range maps.Keys(listed) {
		claimed := at.Pass == nil || at.Pass.After != "" && threatmatch.CompareIDs(id, at.Pass.After) <= 0
		if claimed && !delivered[id] && !dropped[id] && !slices.Contains(at.Failed, id) {
			t.Fatalf("%+v claims %s, which is neither delivered nor failed", at, id)
		}
	}
}

func TestAnItemThatIsNotFoundTwiceIsLookedForAgainWithoutHoldingAnythingBack(t *testing.T) {
	s := &itemServer{ids: numbers(1, 3), now: noon, fail: map[string]error{"2": status(404)}}
	src := Items(s, "alerts", Options{})
	first := run(t.Context(), src, pipeline.Cursor{}, 0)
	if first.err != nil || !slices.Equal(first.last.Failed, []string{"2"}) {
		t.Fatalf("not found once: %+v", first)
	}
	s.ids = nil // nothing is listed any more
	second := run(t.Context(), src, first.last, 0)
	if second.err != nil || len(second.last.Failed) > 0 || !slices.Equal(second.last.Gone, []string{"2"}) || len(second.problems) != 1 {
		t.Fatalf("not found twice: %+v", second)
	}
	third := run(t.Context(), src, second.last, 0)
	if third.err != nil || !slices.Equal(third.last.Gone, []string{"2"}) || len(third.problems) > 0 {
		t.Fatalf("still not found: %+v", third)
	}
	listed := &itemServer{ids: []string{"2"}, now: noon, fail: map[string]error{"2": status(500)}}
	if o := run(t.Context(), Items(listed, "alerts", Options{}), third.last, 0); !slices.Equal(o.last.Failed, []string{"2"}) || len(o.last.Gone) > 0 {
		t.Errorf("listed again, and failed: %+v", o)
	}
	s.fail = nil
	if o := run(t.Context(), src, third.last, 0); !slices.Equal(o.items, []string{"2"}) || len(o.last.Gone) > 0 {
		t.Errorf("back again: %+v", o)
	}
}

func TestASecondTryDoesNotMoveThePassOn(t *testing.T) {
	s := &itemServer{ids: numbers(1, 60), now: noon}
	src := Items(s, "alerts", Options{PageItems: 4})
	first := run(t.Context(), src, pipeline.Cursor{Failed: []string{"50"}}, 1)
	if !slices.Equal(first.items, []string{"50"}) || first.last.Pass == nil {
		t.Fatalf("%+v", first)
	}
	second := run(t.Context(), src, first.last, 0)
	if second.err != nil || !slices.Equal(second.items[:60], numbers(1, 60)) {
		t.Errorf("after an interruption: %v %v", second.items, second.err)
	}
}
