package fetch

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"pgregory.net/rapid"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// evenly is a server of so many indicators that lie evenly in the ten years.
func evenly(n, pageSize int, unit time.Duration) *indicatorServer {
	s := &indicatorServer{pageSize: pageSize}
	for i := range n {
		at := noon.Add(-tenYears + time.Duration(i)*(tenYears/time.Duration(n))).Truncate(unit)
		s.objects = append(s.objects, indicator{id: fmt.Sprint(i), at: at, text: at.Format(time.RFC3339Nano)})
	}
	return s
}

// faultyServer answers some calls otherwise.
type faultyServer struct {
	*sharedServer
	// fault changes the answer to a bound; call counts those that it has changed.
	fault   func(call int, bound time.Time, page threatmatch.IndicatorPage) (threatmatch.IndicatorPage, error, bool)
	changed int
}

func (s *faultyServer) IndicatorsWithin(ctx context.Context, group, after string, grow func(int64) error) (threatmatch.IndicatorPage, error) {
	page, err := s.sharedServer.IndicatorsWithin(ctx, group, after, grow)
	s.mu.Lock()
	defer s.mu.Unlock()
	if other, fault, is := s.fault(s.changed, s.bound(after), page); err == nil && is {
		s.changed++
		return other, fault
	}
	return page, err
}

func steadily(int) time.Duration { return 50 * time.Millisecond }

// drawDates gives some indicators a date of the future, or none that can be read.
func drawDates(t *rapid.T, s *indicatorServer) {
	for i := range s.objects {
		switch rapid.IntRange(0, 60).Draw(t, "date") {
		case 60:
			s.objects[i].text = "never"
		case 59:
			s.objects[i].text = noon.AddDate(rapid.IntRange(1, 2).Draw(t, "years ahead"), 0, 0).Format(time.RFC3339Nano)
		}
	}
}

// saysUnreadable is what is said of a page without dates. One cursor may come by with other bounds.
var saysUnreadable = regexp.MustCompile(`\([01] of its indicators have a modified that can be read\)`)

// TestDatesThatAreWrongHideNothingFromSlices also has indicators change while the pass runs, takes rooms of any size, and is killed and resumed.
func TestDatesThatAreWrongHideNothingFromSlices(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := drawHistory(rt)
		s.whole = false
		drawDates(rt, s)
		plain := *s
		want := run(context.Background(), Indicators(&plain, Options{Concurrency: 1}), longAgo, 0)
		if want.err != nil {
			return
		}
		shared := &sharedServer{indicatorServer: s, latency: drawLatency(rt)}
		concurrency := rapid.IntRange(2, 9).Draw(rt, "concurrency")
		roomSize := int64(rapid.SampledFrom([]int{10, 300, 3000, 1 << 20}).Draw(rt, "room"))
		most := rapid.SampledFrom([]int{0, 0, 1, 3, 7, 20}).Draw(rt, "killed after page")
		var all outcome
		at := longAgo
		for attempt := 0; at.Pass != nil || attempt == 0; attempt++ {
			if attempt > 40 {
				most = 0
			}
			var o outcome
			synctest.Test(t, func(*testing.T) {
				room := NewRoom(roomSize)
				o = run(context.Background(), Indicators(shared, Options{Concurrency: concurrency, Room: room}), at, most)
				if room.taken != 0 {
					rt.Errorf("%d bytes of the room were never given back", room.taken)
				}
			})
			if o.err != nil && saysUnreadable.MatchString(o.err.Error()) {
				return // a page of nothing else, but the indicator at its bound: that is said, and nothing claimed
			}
			if o.err != nil {
				rt.Fatalf("%v; bounds %v", o.err, s.bounds)
			}
			all.items, all.problems, at = append(all.items, o.items...), append(all.problems, o.problems...), o.last
		}
		if len(all.problems) == 0 {
			s.checkSame(rt, all, want)
		}
	})
}

func TestAnIndicatorOfTheFutureAtTheEndOfAPageHidesNoneOfASlice(t *testing.T) {
	for which := 100; which < 400; which += 9 {
		synctest.Test(t, func(t *testing.T) {
			s := evenly(3000, 10, time.Millisecond)
			s.objects[which].text = noon.AddDate(1, 0, 0).Format(time.RFC3339Nano)
			o := run(context.Background(), Indicators(&sharedServer{indicatorServer: s, latency: steadily}, Options{Concurrency: 8}), longAgo, 0)
			slices.Sort(o.items)
			if came := len(slices.Compact(o.items)); o.err != nil || came < len(s.objects) {
				t.Errorf("with the date of %d in the future %d of %d came: %v", which, came, len(s.objects), o.err)
			}
		})
	}
}

// TestAnEndThatIsToldTooEarlyIsNotBelieved has it told to a slice, or to the walk that reads what a slice could not, while other slices
// have shown what comes later.
func TestAnEndThatIsToldTooEarlyIsNotBelieved(t *testing.T) {
	for percent := 10; percent < 90; percent += 4 {
		from := noon.Add(-tenYears + tenYears/100*time.Duration(percent))
		for name, failing := range map[string]int{"the first time": 0, "after a failure": 1} {
			synctest.Test(t, func(t *testing.T) {
				s := &faultyServer{sharedServer: &sharedServer{indicatorServer: evenly(6000, 20, time.Millisecond), latency: steadily}}
				s.fault = func(call int, bound time.Time, page threatmatch.IndicatorPage) (threatmatch.IndicatorPage, error, bool) {
					if call < failing {
						return page, status(500), bound.After(from)
					}
					return threatmatch.IndicatorPage{}, nil, call == failing && bound.After(from) && bound.Before(from.AddDate(0, 0, 20))
				}
				o := run(context.Background(), Indicators(s, Options{Concurrency: 8}), longAgo, 0)
				if came := len(o.items); o.err != nil || came < len(s.objects) {
					t.Errorf("told %s from %d %% on: %d of %d came: %v", name, percent, came, len(s.objects), o.err)
				}
				if s.calls > 360 {
					t.Errorf("%d calls for 300 pages", s.calls)
				}
			})
		}
	}
}

func TestGapsOfDecadesAreReadInSlices(t *testing.T) {
	epoch := time.Unix(0, 0).UTC()
	for year := 1980; year < 2024; year += 2 {
		synctest.Test(t, func(t *testing.T) {
			s := &indicatorServer{pageSize: 50}
			add := func(at time.Time) {
				s.objects = append(s.objects, indicator{id: fmt.Sprint(len(s.objects)), at: at, text: at.Format(time.RFC3339Nano)})
			}
			for i := range 600 {
				add(epoch.Add(time.Duration(i+1) * time.Second))
			}
			from := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
			for i := range 2000 {
				add(from.Add(time.Duration(i) * (noon.Sub(from) / 2000)).Truncate(time.Millisecond))
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			shared := &sharedServer{indicatorServer: s, latency: steadily}
			o := run(ctx, Indicators(shared, Options{Concurrency: 8}), pipeline.Cursor{Since: epoch}, 0)
			if o.err != nil || len(o.items) != len(s.objects) || shared.calls > 100 {
				t.Errorf("from %d on: %d of %d came with %d calls: %v", year, len(o.items), len(s.objects), shared.calls, o.err)
			}
		})
	}
}

func TestAnAPIThatTakesMillisecondsOnlyIsReadInSlices(t *testing.T) {
	for variant := range 4 {
		synctest.Test(t, func(t *testing.T) {
			s := evenly(30_000, 100, time.Microsecond)
			s.strictMs, s.truncate = true, time.Millisecond
			for i := range s.objects {
				s.objects[i].text = s.objects[i].at.Format("2006-01-02T15:04:05.000000Z")
			}
			core, logged := observer.New(zap.DebugLevel)
			shared := &sharedServer{indicatorServer: s, latency: func(call int) time.Duration { return time.Duration(20+call*37*variant%300) * time.Millisecond }}
			o := run(context.Background(), Indicators(shared, Options{Concurrency: 16, Log: zap.New(core)}), longAgo, 0)
			if o.err != nil || len(o.items) != len(s.objects) || logged.Len() != 1 {
				t.Errorf("%d of %d came: %v; a slice was left: %v", len(o.items), len(s.objects), o.err, logged.All())
			}
		})
	}
}
