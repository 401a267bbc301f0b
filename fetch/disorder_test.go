package fetch

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// ways are layouts in which sources write the moment that they mean; see [pipeline.ParseTime].
var ways = []string{
	"2006-01-02T15:04:05.999999Z", "2006-01-02T15:04:05.000000000000Z", "2006-01-02T15:04:05.999999", "2006-01-02 15:04:05.999999",
	"2006-01-02 15:04:05.999999 UTC", "2006-01-02T15:04:05.999999+0000", "2006-01-02T15:04:05,000000z", " 2006-01-02T15:04:05.999999-00 ",
}

func TestHoweverAModifiedIsWrittenEveryIndicatorIsDeliveredOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawServer(t)
		for i, o := range s.objects {
			s.objects[i].text = o.at.Format(rapid.SampledFrom(ways).Draw(t, "way"))
		}
		since := noon.Add(-time.Hour - time.Second)
		o := run(context.Background(), Indicators(s, Options{Concurrency: 1}), pipeline.Cursor{Since: since}, 0)
		if o.err != nil || o.last.Pass != nil {
			t.Fatalf("%v, at %+v; bounds %v", o.err, o.last, s.bounds)
		}
		if missing := s.checkDelivered(t, o.items, since); missing > 0 && len(o.problems) == 0 && s.pageSize > 1 {
			t.Fatalf("%d indicators are missing without a word; bounds %v", missing, s.bounds)
		}
	})
}

// unreadable are texts of a modified that nobody reads.
var unreadable = []string{"", "soon", "1744903440", "2025-02-30T00:00:00Z", "9999-12-31T23:59:59Z", "17.04.2025"}

// TestIndicatorsWithoutAReadableDateHideNoOthers lets the API know the moments of indicators that it does not print in a way
// that can be read; they stand anywhere, at the end of pages too, but never fill one.
func TestIndicatorsWithoutAReadableDateHideNoOthers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawServer(t)
		s.pageSize = max(s.pageSize, 3)
		in := 0 // a row
		for i := range s.objects {
			if in++; in >= s.pageSize-1 || !rapid.Bool().Draw(t, "unreadable") {
				in = 0
				continue
			}
			s.objects[i].text = rapid.SampledFrom(unreadable).Draw(t, "text")
		}
		since := noon.Add(-time.Hour - time.Second)
		o := run(context.Background(), Indicators(s, Options{Concurrency: 1}), pipeline.Cursor{Since: since}, 0)
		s.checkAllShown(t, o, since)
	})
}

// checkAllShown wants the pass to have come to its end, with each indicator that a page can show, or to say why not.
func (s *indicatorServer) checkAllShown(t *rapid.T, o outcome, since time.Time) {
	if most := 9*len(s.objects) + 12; len(s.bounds) > most {
		t.Fatalf("%d requests for %d indicators", len(s.bounds), len(s.objects))
	}
	if !slices.IsSortedFunc(s.bounds, func(a, b string) int { return s.bound(a).Compare(s.bound(b)) }) {
		t.Fatalf("bounds go back: %v", s.bounds)
	}
	if o.err != nil {
		return // loud, and nothing that was not read is behind the cursor
	}
	for _, i := range s.objects {
		if !slices.Contains(o.items, i.id) && s.readable(i, since) && len(o.problems) == 0 {
			t.Fatalf("%s (%q at %s) is lost; bounds %v", i.id, i.text, i.at, s.bounds)
		}
	}
}

// TestThePagingEndsWhateverDatesThereAre draws dates in no order at all, some of the future and some that cannot be read.
func TestThePagingEndsWhateverDatesThereAre(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawServer(t)
		s.ignores = rapid.IntRange(0, 5).Draw(t, "ignores the bound") == 0
		for i := range s.objects {
			o := &s.objects[i]
			switch rapid.IntRange(0, 9).Draw(t, "kind") {
			case 0:
				o.text = rapid.SampledFrom(unreadable).Draw(t, "text")
				continue
			case 1:
				o.at = noon.AddDate(rapid.IntRange(0, 5).Draw(t, "years ahead"), 0, 2)
			case 2, 3, 4:
				o.at = noon.Add(-time.Duration(rapid.IntRange(0, 3600_000).Draw(t, "milliseconds ago")) * time.Millisecond)
			}
			o.text = o.at.Format(time.RFC3339Nano)
		}
		since := noon.Add(-time.Hour - time.Second)
		o := run(context.Background(), Indicators(s, Options{Concurrency: 1}), pipeline.Cursor{Since: since}, 0)
		if most := 9*len(s.objects) + 12; len(s.bounds) > most {
			t.Fatalf("%d requests for %d indicators", len(s.bounds), len(s.objects))
		}
		if o.err == nil && o.last.Pass != nil {
			t.Fatalf("ends at %+v without an error", o.last)
		}
	})
}

// TestAnAPIThatDoesNotQuiteKeepTheOrderIsReadWhole serves indicators in the API's own order, which is not that of what it
// prints as modified.
func TestAnAPIThatDoesNotQuiteKeepTheOrderIsReadWhole(t *testing.T) {
	second := func(i int) string { return seconds(i) }
	jitter := func(i int) string { return second(i + []int{0, 2, 0, 1}[i%4]) } // 0 3 2 4 4 7 6 8 …
	future := func(at ...int) func(int) string {
		return func(i int) string {
			if slices.Contains(at, i) {
				return noon.AddDate(1, 0, i).Format(time.RFC3339Nano)
			}
			return second(i)
		}
	}
	for name, tt := range map[string]struct {
		modified func(int) string
		problems int
	}{
		"a little out of order":             {jitter, 0},
		"one of the future":                 {future(7), 0},
		"one of the future at a page's end": {future(19), 0},
		"some of the future":                {future(3, 4, 25, 39), 0},
		"the last ones of the future":       {future(36, 37, 38, 39), 0},
		"more of them than a page holds":    {func(i int) string { return noon.Add(time.Duration(i) * 12 * time.Hour).Format(time.RFC3339Nano) }, 0},
		"all of the future":                 {func(i int) string { return noon.AddDate(1, 0, i).Format(time.RFC3339Nano) }, 0},
		"one of long ago": {func(i int) string {
			if i == 7 {
				return second(-3000)
			}
			return second(i)
		}, 1},
	} {
		for _, inclusive := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, inclusive %t", name, inclusive), func(t *testing.T) {
				s := &indicatorServer{objects: made(40, tt.modified), pageSize: 10, inclusive: inclusive}
				o := run(t.Context(), Indicators(s, Options{Concurrency: 1}), pipeline.Cursor{Since: noon.Add(-time.Hour)}, 0)
				if o.err != nil || o.last.Pass != nil || len(o.problems) != tt.problems {
					t.Errorf("%v, at %+v, problems %v", o.err, o.last, o.problems)
				}
				for _, i := range s.objects {
					if n := strings.Count(" "+strings.Join(o.items, " ")+" ", " "+i.id+" "); n != 1 {
						t.Errorf("%s (%s) came %d times; bounds %v", i.id, i.text, n, s.bounds)
					}
				}
			})
		}
	}
}

// drawSlightDisorder puts neighbours in each other's place where pages end, which hides one of them, and at the end of the feed,
// where pages show it.
func drawSlightDisorder(t *rapid.T) *indicatorServer {
	s := &indicatorServer{
		pageSize:  rapid.IntRange(6, 12).Draw(t, "page size"),
		inclusive: rapid.Bool().Draw(t, "inclusive"),
		truncate:  rapid.SampledFrom([]time.Duration{0, time.Millisecond}).Draw(t, "truncate"),
		eager:     rapid.Bool().Draw(t, "eager"),
	}
	unit := time.Duration(rapid.IntRange(200, 1000).Draw(t, "milliseconds between")) * time.Millisecond
	n := rapid.IntRange(4*s.pageSize, 100).Draw(t, "indicators")
	s.objects = made(n, func(i int) string { return noon.Add(time.Duration(i)*unit - time.Hour).Format(time.RFC3339Nano) })
	swap := func(i int) { s.objects[i], s.objects[i+1] = s.objects[i+1], s.objects[i] }
	end := s.pageSize - 1 // of the first page; the next begins with its last one
	for ; end < n-2*s.pageSize; end += s.pageSize - 1 {
		if rapid.Bool().Draw(t, "hides one") {
			swap(end)
			end++ // for the hidden one takes no room
		}
	}
	for i := end + 2; i+1 < n; i += 2 {
		swap(i)
	}
	return s
}

func TestSlightDisorderIsReadAgainInsteadOfFailingTheRun(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSlightDisorder(t)
		most := rapid.SampledFrom([]int{0, 0, 1, 2, 5}).Draw(t, "killed after page")
		s.eager = s.eager && most == 0 // a rest of less than a page that promises more could hide some, and that is said
		at := pipeline.Cursor{Since: noon.Add(-2 * time.Hour)}
		seen := map[string]bool{}
		for runs := 0; at.Pass != nil || runs == 0; runs++ {
			if runs > 200 {
				t.Fatalf("a pass that is killed over and over does not end; at %+v", at.Pass)
			}
			asked := len(s.bounds)
			o := run(context.Background(), Indicators(s, Options{Concurrency: 1}), at, most)
			if o.err != nil || len(o.problems) > 0 {
				t.Fatalf("%v, %d problems, the first %v; bounds %v", o.err, len(o.problems), firstProblem(o), s.bounds)
			}
			back := 0
			for i := asked + 1; i < len(s.bounds); i++ {
				if s.bound(s.bounds[i]).Before(s.bound(s.bounds[i-1])) {
					back++
				}
			}
			if back > 2 { // one of them by the fresh pass after one that was resumed
				t.Fatalf("goes back %d times: %v", back, s.bounds)
			}
			for _, id := range o.items {
				seen[id] = true
			}
			at = o.last
		}
		for _, i := range s.objects {
			if !seen[i.id] {
				t.Fatalf("%s (%s) is lost; bounds %v", i.id, i.text, s.bounds)
			}
		}
	})
}

// TestThePassThatIsReadAgainReadsTheFutureLast has the disorder show where the future has been reached, which one of its dates
// in the middle must not lead to when all is read again.
func TestThePassThatIsReadAgainReadsTheFutureLast(t *testing.T) {
	s := &indicatorServer{pageSize: 10, objects: made(50, func(i int) string {
		at := noon.Add(time.Duration(i)*time.Second/2 - time.Hour)
		if i == 7 || i >= 30 {
			at = at.AddDate(1, 0, 0)
		}
		return at.Format(time.RFC3339Nano)
	})}
	s.objects[44], s.objects[45] = s.objects[45], s.objects[44]
	o := run(t.Context(), Indicators(s, Options{Concurrency: 1}), pipeline.Cursor{Since: noon.Add(-2 * time.Hour)}, 0)
	if o.err != nil || o.last.Pass != nil {
		t.Errorf("%v, at %+v", o.err, o.last)
	}
	again := 1 + slices.IndexFunc(s.bounds[1:], func(b string) bool { return s.bound(b).Equal(s.bound(s.bounds[0])) })
	if again == 0 {
		t.Fatalf("is not read again: %v", s.bounds)
	}
	if ahead := s.bound(s.bounds[again+1]); ahead.After(noon) {
		t.Errorf("goes on at %s; bounds %v", ahead, s.bounds)
	}
}

func firstProblem(o outcome) error {
	for _, page := range o.pages {
		for _, problem := range page.Problems {
			return problem.Err
		}
	}
	return nil
}
