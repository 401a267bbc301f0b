package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

type indicator struct {
	id   string
	at   time.Time
	text string // of modified
}

func (i indicator) json() json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"type":"indicator","id":%q,"modified":%q}`, i.id, i.text))
}

// indicatorServer is the paging API in memory, in each of its possible readings.
type indicatorServer struct {
	objects   []indicator // in order
	pageSize  int
	inclusive bool
	truncate  time.Duration // what bounds are rounded down to
	whole     bool          // a moment that begins a page is not torn apart
	longer    int           // the size of the first page, where that is another
	eager     bool          // more is true until a page is empty
	ignores   bool          // the bound
	strictMs  bool          // 400 to bounds finer than a millisecond
	groups    []threatmatch.Group
	failAt    int // the call that fails
	bounds    []string
	ahead     time.Duration
}

func (s *indicatorServer) Now() time.Time       { return noon.Add(-s.ahead) }
func (s *indicatorServer) Ahead() time.Duration { return s.ahead }

func (s *indicatorServer) Groups(context.Context) ([]threatmatch.Group, error) {
	if s.groups == nil {
		return []threatmatch.Group{{ID: "1", Name: "Other"}, {ID: "2", Name: "All content"}}, nil
	}
	return s.groups, nil
}

func (s *indicatorServer) bound(text string) time.Time {
	bound, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic("a bound that no API reads: " + text)
	}
	if s.truncate > 0 {
		bound = bound.Truncate(s.truncate)
	}
	return bound
}

func (s *indicatorServer) IndicatorsWithin(ctx context.Context, group, after string, _ func(int64) error) (threatmatch.IndicatorPage, error) {
	s.bounds = append(s.bounds, after)
	var page threatmatch.IndicatorPage
	switch {
	case ctx.Err() != nil:
		return page, ctx.Err()
	case group != "2" || len(s.bounds) == s.failAt:
		return page, status(500)
	case s.strictMs && len(after) != len("2006-01-02T15:04:05.000Z"):
		return page, status(400)
	}
	bound := s.bound(after)
	size := s.pageSize
	if s.longer > 0 && len(s.bounds) == 1 {
		size = s.longer
	}
	var first time.Time
	for _, o := range s.objects {
		if !s.ignores && !o.at.After(bound) && !(s.inclusive && o.at.Equal(bound)) {
			continue
		}
		if len(page.Objects) == 0 {
			first = o.at
		}
		if len(page.Objects) >= size && !(s.whole && o.at.Equal(first)) {
			page.More = true
			break
		}
		page.Objects = append(page.Objects, o.json())
	}
	page.More = page.More || s.eager
	return page, nil
}

// readable tells whether some bound at or above the first shows an indicator together with everything that such a page
// must hold before it: then a reader must not miss it.
func (s *indicatorServer) readable(o indicator, first time.Time) bool {
	low := o.at
	unit := max(s.truncate, time.Microsecond)
	if !s.inclusive {
		low = low.Add(-1) // a bound must lie below it
	}
	low = low.Truncate(unit)
	if low.Before(first) {
		low = first
	}
	n := 0
	for _, other := range s.objects {
		shown := other.at.After(low) || s.inclusive && other.at.Equal(low)
		if shown && !other.at.After(o.at) {
			n++
		}
	}
	return n <= s.pageSize
}

func drawServer(t *rapid.T) *indicatorServer {
	s := &indicatorServer{
		pageSize:  rapid.IntRange(1, 10).Draw(t, "page size"),
		inclusive: rapid.Bool().Draw(t, "inclusive"),
		truncate:  rapid.SampledFrom([]time.Duration{0, 0, time.Millisecond}).Draw(t, "truncate"),
		eager:     rapid.IntRange(0, 3).Draw(t, "eager") == 0,
		strictMs:  rapid.IntRange(0, 5).Draw(t, "ms only") == 0,
	}
	if s.strictMs {
		s.truncate = time.Millisecond
	}
	unit := rapid.SampledFrom([]time.Duration{time.Microsecond, 100 * time.Microsecond, time.Millisecond, time.Second}).Draw(t, "unit")
	at := noon.Add(-time.Hour)
	for i := range rapid.IntRange(0, 60).Draw(t, "indicators") {
		at = at.Add(unit * time.Duration(rapid.SampledFrom([]int{0, 0, 0, 1, 1, 2, 700}).Draw(t, "gap")))
		s.objects = append(s.objects, indicator{id: fmt.Sprint(i), at: at, text: at.Format(time.RFC3339Nano)})
	}
	return s
}

func TestEveryIndicatorThatAPageCanShowIsDeliveredOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawServer(t)
		since := noon.Add(-time.Hour - time.Second)
		o := run(context.Background(), Indicators(s, Options{Concurrency: 1}), pipeline.Cursor{Since: since}, 0)
		if o.err != nil {
			t.Fatalf("%v; bounds %v", o.err, s.bounds)
		}
		if o.last.Pass != nil || !o.last.Since.Equal(noon) {
			t.Fatalf("ends at %+v", o.last)
		}
		missing := s.checkDelivered(t, o.items, since)
		if missing > 0 && len(o.problems) == 0 && s.pageSize > 1 {
			t.Fatalf("%d indicators are missing without a word; bounds %v", missing, s.bounds)
		}
		if !slices.IsSortedFunc(s.bounds, func(a, b string) int { return s.bound(a).Compare(s.bound(b)) }) {
			t.Fatalf("bounds go back: %v", s.bounds)
		}
		if most := 6*len(s.objects) + 8; len(s.bounds) > most {
			t.Fatalf("%d requests for %d indicators", len(s.bounds), len(s.objects))
		}
	})
}

// checkDelivered returns how many are missing because no page shows them.
func (s *indicatorServer) checkDelivered(t *rapid.T, items []string, first time.Time) (missing int) {
	times := map[string]int{}
	for _, id := range items {
		times[id]++
	}
	for _, o := range s.objects {
		switch n := times[o.id]; {
		case n > 1:
			t.Fatalf("%s (%s) came %d times; bounds %v", o.id, o.text, n, s.bounds)
		case n == 0 && s.readable(o, first):
			t.Fatalf("%s (%s) is lost; bounds %v", o.id, o.text, s.bounds)
		case n == 0:
			missing++
		}
	}
	return missing
}

func TestAResumeFromAnyPageLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawServer(t)
		since := noon.Add(-time.Hour - time.Second)
		at := pipeline.Cursor{Since: since}
		seen := map[string]bool{}
		for attempt := 0; at.Pass != nil || attempt == 0; attempt++ {
			most := rapid.IntRange(1, 4).Draw(t, "killed after page")
			if attempt > 40 {
				most = 0
			}
			o := run(context.Background(), Indicators(s, Options{Concurrency: 1}), at, most)
			if o.err != nil {
				t.Fatal(o.err)
			}
			for _, id := range o.items {
				seen[id] = true
			}
			if at = o.last; at.Pass != nil && at.Pass.Started.IsZero() {
				t.Fatal("a pass without a start")
			}
		}
		for _, o := range s.objects {
			if !seen[o.id] && s.readable(o, since) {
				t.Fatalf("%s (%s) is lost", o.id, o.text)
			}
		}
	})
}

func made(n int, at func(i int) string) (objects []indicator) {
	for i := range n {
		when, _ := readModified(at(i))
		objects = append(objects, indicator{id: fmt.Sprint(i), at: when, text: at(i)})
	}
	return objects
}

func same(text string) func(int) string { return func(int) string { return text } }

func seconds(i int) string { return noon.Add(time.Duration(i) * time.Second).Format(time.RFC3339Nano) }

func TestTheFirstBoundIsTheWindowsStartAndTheNextJustBelowTheLastModified(t *testing.T) {
	s := &indicatorServer{objects: made(3, func(i int) string { return fmt.Sprintf("2025-04-18T08:00:0%d.123456Z", i) }), pageSize: 2}
	o := run(t.Context(), Indicators(s, Options{Concurrency: 1}), pipeline.Cursor{Since: time.Date(2025, 4, 17, 15, 24, 0, 0, time.UTC)}, 0)
	if want := []string{"2025-04-17T15:24:00.000Z", "2025-04-18T08:00:01.123455Z"}; o.err != nil || !slices.Equal(s.bounds, want) {
		t.Errorf("%v %v", s.bounds, o.err)
	}
}

func TestMoreOfOneMomentThanAPageHoldsIsSaidLoudly(t *testing.T) {
	for _, inclusive := range []bool{false, true} {
		objects := made(9, seconds)
		for i := 2; i < 7; i++ {
			objects[i].at, objects[i].text = objects[2].at, objects[2].text
		}
		s := &indicatorServer{objects: objects, pageSize: 3, inclusive: inclusive}
		o := run(t.Context(), Indicators(s, Options{Concurrency: 1}), pipeline.Cursor{Since: noon.Add(-time.Hour)}, 0)
		if want := []string{"0", "1", "2", "3", "4", "7", "8"}; o.err != nil || !slices.Equal(o.items, want) {
			t.Errorf("inclusive %v: %v %v", inclusive, o.items, o.err)
		}
		if len(o.problems) != 1 || o.last.Pass != nil {
			t.Fatalf("inclusive %v: problems %v", inclusive, o.problems)
		}
		for _, p := range o.pages {
			for _, problem := range p.Problems {
				if text := problem.Err.Error(); !strings.Contains(text, "2025-04-17T12:00:02Z") || !strings.Contains(text, "MISSING") {
					t.Error(text)
				}
			}
		}
	}
}

// TestAPageIsTakenForCutOffByWhatTheOthersHold has twelve indicators share a moment after pages that show how long they get.
func TestAPageIsTakenForCutOffByWhatTheOthersHold(t *testing.T) {
	for name, tt := range map[string]struct {
		server   indicatorServer
		problems int
	}{
		"a moment is not torn apart":              {indicatorServer{whole: true}, 0},
		"a moment is":                             {indicatorServer{}, 1},
		"it is, though the first page was longer": {indicatorServer{longer: 9}, 1},
	} {
		for _, inclusive := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, inclusive %t", name, inclusive), func(t *testing.T) {
				s := tt.server
				s.pageSize, s.inclusive = 4, inclusive
				s.objects = made(60, func(i int) string { return seconds(i - min(max(i-30, 0), 11)) })
				o := run(t.Context(), Indicators(&s, Options{Concurrency: 1}), pipeline.Cursor{Since: noon.Add(-time.Hour)}, 0)
				missing := len(s.objects) - len(o.items)
				if o.err != nil || o.last.Pass != nil || len(o.problems) != tt.problems || (missing > 0) != (tt.problems > 0) {
					t.Errorf("%v, %d missing, problems %v; bounds %v", o.err, missing, o.problems, s.bounds)
				}
			})
		}
	}
}

func TestThePagingEndsWhateverTheAPISays(t *testing.T) {
	for name, tc := range map[string]struct {
		server    indicatorServer
		fails     bool
		delivered int
		problems  int
	}{
		"more for ever, pages empty at the end": {indicatorServer{objects: made(5, seconds), pageSize: 2, eager: true}, false, 5, 0},
		"the same, inclusive":                   {indicatorServer{objects: made(5, seconds), pageSize: 2, eager: true, inclusive: true}, false, 5, 0},
		"one indicator, more for ever":          {indicatorServer{objects: made(1, seconds), pageSize: 9, eager: true}, false, 1, 0},
		"one, inclusive":                        {indicatorServer{objects: made(1, seconds), pageSize: 9, eager: true, inclusive: true}, false, 1, 0},
		"nothing, more for ever":                {indicatorServer{pageSize: 9, eager: true}, false, 0, 0},
		"the same page for ever":                {indicatorServer{objects: made(5, seconds), pageSize: 5, eager: true, ignores: true}, true, -1, 0},
		"one moment for ever":                   {indicatorServer{objects: made(5, same("2025-04-17T12:00:00Z")), pageSize: 5, eager: true, ignores: true}, true, 5, 0},
		"no modified at all":                    {indicatorServer{objects: made(5, same("")), pageSize: 5, eager: true, ignores: true}, true, 5, 0},
		"no modified, one page":                 {indicatorServer{objects: made(5, same("yesterday")), pageSize: 5, ignores: true}, false, 5, 0},
		"out of order": {indicatorServer{objects: made(5, func(i int) string { return seconds(9 - i) }), pageSize: 3},
			false, 3, 1},
	} {
		t.Run(name, func(t *testing.T) {
			o := run(t.Context(), Indicators(&tc.server, Options{Concurrency: 1}), pipeline.Cursor{Since: noon.Add(-time.Hour)}, 0)
			if (o.err != nil) != tc.fails || tc.fails && o.last.Pass == nil {
				t.Errorf("error %v, cursor %+v", o.err, o.last)
			}
			if tc.delivered >= 0 && len(o.items) != tc.delivered || len(o.problems) != tc.problems {
				t.Errorf("%d delivered, problems %v", len(o.items), o.problems)
			}
			if len(tc.server.bounds) > 12 {
				t.Errorf("asked %v", tc.server.bounds)
			}
		})
	}
}

func TestAPageThatFailsStopsTheDatasetWhereItWas(t *testing.T) {
	s := &indicatorServer{objects: made(9, seconds), pageSize: 3, failAt: 3}
	o := run(t.Context(), Indicators(s, Options{Concurrency: 1}), pipeline.Cursor{Since: noon.Add(-time.Hour)}, 0)
	if o.err == nil || o.last.Pass == nil || len(o.items) != 5 {
		t.Fatalf("%+v", o)
	}
	again := run(t.Context(), Indicators(s, Options{Concurrency: 1}), o.last, 0)
	if again.err != nil || again.last.Pass != nil || !slices.Contains(again.items, "8") || slices.Contains(again.items[:4], "0") {
		t.Errorf("%+v", again)
	}
}

func TestAMissingGroupIsAnErrorThatNamesThoseThereAre(t *testing.T) {
	s := &indicatorServer{groups: []threatmatch.Group{{ID: "1", Name: "Low confidence"}, {ID: "", Name: "All content"}}}
	o := run(t.Context(), Indicators(s, Options{Concurrency: 1}), pipeline.Cursor{}, 0)
	if o.err == nil || !strings.Contains(o.err.Error(), `"Low confidence"`) || len(o.pages) != 0 {
		t.Error(o.err)
	}
	s.groups = []threatmatch.Group{}
	if o := run(t.Context(), Indicators(s, Options{Concurrency: 1}), pipeline.Cursor{}, 0); o.err == nil || !strings.Contains(o.err.Error(), "no groups at all") {
		t.Error(o.err)
	}
}

func TestTheEndOfTheContextIsTheError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if o := run(ctx, Indicators(&indicatorServer{}, Options{Concurrency: 1}), pipeline.Cursor{}, 0); !errors.Is(o.err, context.Canceled) {
		t.Error(o.err)
	}
}

func TestTheWindowOfSeenIndicatorsStaysSmall(t *testing.T) {
	p := newPosition(noon)
	for i := range 10_000 {
		text := noon.Add(time.Duration(i) * time.Millisecond).Format(time.RFC3339Nano)
		when, ok := readModified(text)
		p.see(nil, newIdentity(fmt.Sprint(i), text), when, ok)
		p.advance()
		if len(p.seen) > 4 {
			t.Fatalf("%d remembered after %d", len(p.seen), i)
		}
	}
}

func TestDisorderDoesNotLetTheWindowGrowWithoutBound(t *testing.T) {
	p := newPosition(noon)
	p.loosen(maxSlack)
	for i := range 2 * maxSeen {
		text := seconds(i % 3600)
		when, ok := readModified(text)
		p.see(nil, newIdentity(fmt.Sprint(i), text), when, ok)
		if i%100 == 0 {
			p.set(noon) // as if there were another bound to climb to
			p.advance()
		}
		if len(p.seen) > maxSeen+100 {
			t.Fatalf("%d remembered after %d", len(p.seen), i)
		}
	}
}

func FuzzIdentify(f *testing.F) {
	for _, s := range []string{`{"id":"a","modified":"2025-04-17T15:24:00.123456Z"}`, `{"id":1,"modified":null}`, `{"id":"a","id":"b"`, `[]`, ``,
		`{"modified":"2025-04-17 15:24:00+02:00","id":"\ud800"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, object []byte) {
		modified := newIdentifier().identify(object).modified
		when, ok := readModified(modified)
		if !ok {
			return
		}
		p := newPosition(noon)
		p.see(object, newIdentity("x", modified), when, ok)
		for steps := 0; p.advance(); steps++ {
			if back, ok := readModified(p.asked); !ok || !back.Equal(p.bound) || steps > noStep {
				t.Fatalf("bound %q after %q (%d)", p.asked, modified, steps)
			}
		}
	})
}

func FuzzResume(f *testing.F) {
	for _, s := range []string{"", "2025-04-17T15:24:00.000Z", "2025-04-17T15:24:00.123456789Z", "9999-12-31T23:59:59.999Z", "1234"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, after string) {
		p := newPosition(noon)
		p.resume(after)
		if _, ok := readModified(p.asked); !ok || p.bound.Before(noon) {
			t.Fatalf("%q resumes at %q", after, p.asked)
		}
	})
}
