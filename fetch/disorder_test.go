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
		o := run(context.Background(), Indicators(s, Options{}), pipeline.Cursor{Since: since}, 0)
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
		o := run(context.Background(), Indicators(s, Options{}), pipeline.Cursor{Since: since}, 0)
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
		o := run(context.Background(), Indicators(s, Options{}), pipeline.Cursor{Since: since}, 0)
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
				o := run(t.Context(), Indicators(s, Options{}), pipeline.Cursor{Since: noon.Add(-time.Hour)}, 0)
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
