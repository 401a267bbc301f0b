package fetch

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// sharedServer is an API that several ask at a time, and that can be odd about bounds ahead of what it has shown.
type sharedServer struct {
	*indicatorServer
	latency func(call int) time.Duration
	odd     func(s *sharedServer, page threatmatch.IndicatorPage) (threatmatch.IndicatorPage, error)

	mu    sync.Mutex
	calls int
	shown time.Time // the newest
	last  threatmatch.IndicatorPage
}

func (s *sharedServer) IndicatorsWithin(ctx context.Context, group, after string, grow func(int64) error) (page threatmatch.IndicatorPage, err error) {
	s.mu.Lock()
	s.calls++
	call := s.calls
	s.mu.Unlock()
	if s.latency != nil {
		select {
		case <-time.After(s.latency(call)):
		case <-ctx.Done():
			return page, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if page, err = s.indicatorServer.IndicatorsWithin(ctx, group, after, grow); err != nil {
		return page, err
	}
	if s.odd != nil && !s.shown.IsZero() && s.bound(after).After(s.shown.Add(2*time.Second)) { // further than a climb
		return s.odd(s, page)
	}
	for _, o := range page.Objects {
		modified := newIdentifier().identify(o).modified
		when, ok := readModified(modified)
		if ok {
			s.shown = latest(s.shown, when)
		}
	}
	s.last = page
	return page, nil
}

// drawHistory draws a server with so much that slices are worth while: bursts, gaps, and more at a moment than a page holds.
func drawHistory(t *rapid.T) *indicatorServer {
	s := &indicatorServer{
		pageSize:  rapid.IntRange(2, 12).Draw(t, "page size"),
		inclusive: rapid.Bool().Draw(t, "inclusive"),
		truncate:  rapid.SampledFrom([]time.Duration{0, 0, time.Millisecond, time.Second}).Draw(t, "truncate"),
		eager:     rapid.IntRange(0, 5).Draw(t, "eager") == 0,
		whole:     rapid.IntRange(0, 5).Draw(t, "whole") == 0,
		strictMs:  rapid.IntRange(0, 5).Draw(t, "ms only") == 0,
	}
	if s.strictMs {
		s.truncate = time.Millisecond
	}
	at := noon.Add(-tenYears)
	gaps := []time.Duration{0, time.Microsecond, time.Millisecond, time.Second, time.Minute, time.Hour, 24 * time.Hour, 90 * 24 * time.Hour, 700 * 24 * time.Hour}
	for range rapid.IntRange(1, 12).Draw(t, "stretches") {
		gap := rapid.SampledFrom(gaps).Draw(t, "gap")
		most := 60
		if gap == 0 {
			most = s.pageSize + 2
		}
		at = at.Add(rapid.SampledFrom(gaps).Draw(t, "pause"))
		for range rapid.IntRange(1, most).Draw(t, "indicators") {
			at = at.Add(gap * time.Duration(rapid.SampledFrom([]int{0, 1, 1, 1, 2, 5}).Draw(t, "step")) / 2)
			if at.After(noon) {
				return s
			}
			s.objects = append(s.objects, indicator{id: fmt.Sprint(len(s.objects)), at: at, text: at.Format(time.RFC3339Nano)})
		}
	}
	return s
}

// drawLatency draws how long calls take, so that slices come in any order.
func drawLatency(t *rapid.T) func(int) time.Duration {
	of := rapid.SliceOfN(rapid.IntRange(1, 200), 1, 9).Draw(t, "latencies")
	return func(call int) time.Duration { return time.Duration(of[call%len(of)]) * time.Millisecond }
}

// inBubble runs a pass where time is fake.
func inBubble(t *testing.T, s indicatorsAPI, from pipeline.Cursor, concurrency, mostPages int) (o outcome) {
	synctest.Test(t, func(*testing.T) {
		o = run(context.Background(), Indicators(s, Options{Concurrency: concurrency}), from, mostPages)
	})
	return o
}

var longAgo = pipeline.Cursor{Since: noon.Add(-tenYears - time.Second)}

func TestSlicesBringWhatOneCursorBrings(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := drawHistory(rt)
		plain := *s
		want := run(context.Background(), Indicators(&plain, Options{Concurrency: 1}), longAgo, 0)
		o := inBubble(t, &sharedServer{indicatorServer: s, latency: drawLatency(rt)}, longAgo, rapid.IntRange(2, 9).Draw(rt, "concurrency"), 0)
		if o.err != nil || o.last.Pass != nil || !o.last.Since.Equal(noon) {
			rt.Fatalf("%v, at %+v; bounds %v", o.err, o.last, s.bounds)
		}
		s.checkSame(rt, o, want)
		if s.truncate == time.Second { // pages show again what is not remembered so long
			return
		}
		once := slices.Compact(slices.Clone(o.items))
		if len(once) < len(o.items) || !slices.IsSortedFunc(once, threatmatch.CompareIDs) {
			rt.Fatalf("they come as %v, one after another as %v; bounds %v", o.items, want.items, s.bounds)
		}
	})
}

// checkSame wants everything that one cursor brings, and a problem where something is missing for which that has one.
func (s *indicatorServer) checkSame(t *rapid.T, o, want outcome) {
	came := map[string]int{}
	for _, id := range o.items {
		came[id]++
	}
	for _, id := range want.items {
		if came[id] == 0 {
			t.Fatalf("%s is lost; bounds %v", id, s.bounds)
		}
	}
	if len(came) < len(s.objects) && len(want.problems) > 0 && len(o.problems) == 0 {
		t.Fatalf("some are missing without a word; bounds %v", s.bounds)
	}
}

// afterOf is the bound in a cursor, to the millisecond: some APIs take no finer ones.
func afterOf(c pipeline.Cursor) time.Time {
	p := newPosition(time.Time{})
	p.resume(c.Pass.After)
	return p.bound.Truncate(time.Millisecond)
}

func TestAPassInSlicesThatIsInterruptedLosesNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := drawHistory(rt)
		plain := *s
		want := run(context.Background(), Indicators(&plain, Options{Concurrency: 1}), longAgo, 0)
		at, latency := longAgo, drawLatency(rt)
		var all outcome
		for attempt := 0; at.Pass != nil || attempt == 0; attempt++ {
			most := rapid.IntRange(1, 9).Draw(rt, "killed after page")
			if attempt > 40 {
				most = 0
			}
			o := inBubble(t, &sharedServer{indicatorServer: s, latency: latency}, at, rapid.IntRange(1, 9).Draw(rt, "concurrency"), most)
			if o.err != nil {
				rt.Fatal(o.err)
			}
			if before := at.Pass; before != nil && o.last.Pass != nil && afterOf(o.last).Before(afterOf(at)) && o.last.Pass.Started.Equal(before.Started) {
				rt.Fatalf("goes back from %q to %q", before.After, o.last.Pass.After)
			}
			all.items, all.problems, at = append(all.items, o.items...), append(all.problems, o.problems...), o.last
		}
		s.checkSame(rt, all, want)
	})
}

func TestABackfillInSlicesBringsItsWindow(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := drawHistory(rt)
		plain := *s
		until := noon.Add(-time.Duration(rapid.Int64Range(1, int64(tenYears)).Draw(rt, "ends before noon")))
		if len(s.objects) > 0 && rapid.Bool().Draw(rt, "ends at one") {
			until = rapid.SampledFrom(s.objects).Draw(rt, "which").at
		}
		window := pipeline.Cursor{Since: longAgo.Since, Until: until}
		want := run(context.Background(), Indicators(&plain, Options{Concurrency: 1}), window, 0)
		o := inBubble(t, &sharedServer{indicatorServer: s, latency: drawLatency(rt)}, window, rapid.IntRange(2, 9).Draw(rt, "concurrency"), 0)
		if o.err != nil || o.last.Pass != nil || !o.last.Since.Equal(until) {
			rt.Fatalf("%v, at %+v; bounds %v", o.err, o.last, s.bounds)
		}
		within := func(id string) bool {
			at := slices.IndexFunc(s.objects, func(i indicator) bool { return i.id == id })
			return s.objects[at].at.After(until)
		}
		want.items = slices.DeleteFunc(want.items, within)
		s.checkSame(rt, o, want)
	})
}

// oddities are what an API may do about a bound that lies ahead of all that it has shown.
var oddities = map[string]func(*sharedServer, threatmatch.IndicatorPage) (threatmatch.IndicatorPage, error){
	"shows the last page again": func(s *sharedServer, _ threatmatch.IndicatorPage) (threatmatch.IndicatorPage, error) {
		return s.last, nil
	},
	"shows nothing, and no more": func(*sharedServer, threatmatch.IndicatorPage) (threatmatch.IndicatorPage, error) {
		return threatmatch.IndicatorPage{}, nil
	},
	"shows nothing, and more": func(*sharedServer, threatmatch.IndicatorPage) (threatmatch.IndicatorPage, error) {
		return threatmatch.IndicatorPage{More: true}, nil
	},
	"refuses it": func(*sharedServer, threatmatch.IndicatorPage) (threatmatch.IndicatorPage, error) {
		return threatmatch.IndicatorPage{}, status(400)
	},
	"fails": func(*sharedServer, threatmatch.IndicatorPage) (threatmatch.IndicatorPage, error) {
		return threatmatch.IndicatorPage{}, status(500)
	},
	"shows it backwards": func(_ *sharedServer, page threatmatch.IndicatorPage) (threatmatch.IndicatorPage, error) {
		slices.Reverse(page.Objects)
		return page, nil
	},
	"shows all from the beginning": func(s *sharedServer, _ threatmatch.IndicatorPage) (threatmatch.IndicatorPage, error) {
		s.ignores = true
		defer func() { s.ignores = false }()
		return s.indicatorServer.IndicatorsWithin(context.Background(), "2", noon.Format(time.RFC3339), nil)
	},
}

func TestAnAPIThatIsOddAboutWhatLiesAheadIsReadWithOneCursor(t *testing.T) {
	for name, odd := range oddities {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				s := drawHistory(rt)
				plain := *s
				want := run(context.Background(), Indicators(&plain, Options{Concurrency: 1}), longAgo, 0)
				o := inBubble(t, &sharedServer{indicatorServer: s, latency: drawLatency(rt), odd: odd}, longAgo, rapid.IntRange(2, 9).Draw(rt, "concurrency"), 0)
				if o.err != nil || o.last.Pass != nil {
					rt.Fatalf("%v, at %+v; bounds %v", o.err, o.last, s.bounds)
				}
				s.checkSame(rt, o, want)
				if most := 2*len(plain.bounds) + 60; len(s.bounds) > most {
					rt.Fatalf("%d calls, one after another %d", len(s.bounds), len(plain.bounds))
				}
			})
		})
	}
}
