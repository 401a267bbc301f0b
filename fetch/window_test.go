package fetch

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// checkWindow reads a window that ends about an indicator, and compares it with a whole pass.
func checkWindow(t *rapid.T, s *indicatorServer, interrupted bool) {
	since := noon.Add(-time.Hour - time.Second)
	whole := *s
	all := run(context.Background(), Indicators(&whole, Options{Concurrency: 1}), pipeline.Cursor{Since: since}, 0)
	var until time.Time
	if len(s.objects) > 0 {
		until = rapid.SampledFrom(s.objects).Draw(t, "end").at.Add(time.Duration(rapid.IntRange(-2, 2).Draw(t, "off")) * time.Microsecond)
	} else {
		until = noon
	}
	if !until.After(since) {
		return
	}
	at := pipeline.Cursor{Since: since, Until: until}
	var got outcome
	for attempt := 0; ; attempt++ {
		most := 0
		if interrupted && attempt < 40 {
			most = rapid.IntRange(1, 4).Draw(t, "killed after page")
		}
		o := run(context.Background(), Indicators(s, Options{Concurrency: 1}), at, most)
		got.items, got.problems = append(got.items, o.items...), append(got.problems, o.problems...)
		if at = o.last; o.err != nil {
			got.err = o.err
			break
		}
		if at.Pass == nil {
			break
		}
	}
	if got.err != nil {
		if all.err == nil {
			t.Fatalf("a window fails where the whole does not: %v", got.err)
		}
		return
	}
	if at.Pass != nil || !at.Since.Equal(until) || !at.Until.Equal(until) {
		t.Fatalf("ends at %+v", at)
	}
	if len(got.problems) > 0 {
		return
	}
	for _, i := range s.objects {
		if !i.at.After(until) && slices.Contains(all.items, i.id) && !slices.Contains(got.items, i.id) {
			t.Fatalf("%s (%q at %s) of the window until %s is lost without a word; the whole has problems %v; bounds %v", i.id, i.text, i.at, until.Format(time.RFC3339Nano), all.problems, s.bounds)
		}
	}
}

func TestAWindowBringsWhatAWholePassBringsOfIt(t *testing.T) {
	for _, interrupted := range []bool{false, true} {
		t.Run(fmt.Sprint("in order ", interrupted), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { checkWindow(t, drawServer(t), interrupted) })
		})
		t.Run(fmt.Sprint("slight disorder ", interrupted), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				s := drawServer(t)
				for i := range s.objects { // printed as another moment than that by which the API orders
					by := time.Duration(rapid.IntRange(0, 300).Draw(t, "by")) * time.Microsecond
					s.objects[i].text = s.objects[i].at.Add(-by).Format(time.RFC3339Nano)
				}
				checkWindow(t, s, interrupted)
			})
		})
		t.Run(fmt.Sprint("future ", interrupted), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				s := drawServer(t)
				for i := range s.objects {
					if rapid.IntRange(0, 9).Draw(t, "future") == 0 {
						s.objects[i].text = "2031-01-01T00:00:00Z"
					}
				}
				checkWindow(t, s, interrupted)
			})
		})
	}
}

// Items: what is in the list of the end is taken away.
type datedServer struct {
	itemServer
	dates map[string]time.Time
}

func (s *datedServer) List(_ context.Context, _ string, since time.Time) (ids []string, err error) {
	for id, at := range s.dates {
		if !at.Before(since.UTC().Truncate(time.Minute)) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func TestAWindowOfItemsBringsAllThatHasChangedInIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &datedServer{itemServer: itemServer{now: noon, fail: map[string]error{}}, dates: map[string]time.Time{}}
		for i := range rapid.IntRange(0, 40).Draw(t, "n") {
			s.dates[fmt.Sprint(i)] = noon.Add(-time.Duration(rapid.IntRange(0, 7200).Draw(t, "at")) * time.Second)
		}
		since := noon.Add(-time.Duration(rapid.IntRange(3601, 7200).Draw(t, "since")) * time.Second)
		until := noon.Add(-time.Duration(rapid.IntRange(0, 3600).Draw(t, "until")) * time.Second)
		at := pipeline.Cursor{Since: since, Until: until}
		var items []string
		for attempt := 0; attempt == 0 || at.Pass != nil; attempt++ {
			o := run(context.Background(), Items(s, AlertsDataset, Options{PageItems: 3}), at, rapid.IntRange(1, 3).Draw(t, "pages"))
			if o.err != nil {
				t.Fatal(o.err)
			}
			items, at = append(items, o.items...), o.last
		}
		end := until.Add(time.Minute - time.Nanosecond).Truncate(time.Minute) // the API knows minutes
		for id, when := range s.dates {
			if !when.Before(end) && slices.Contains(items, id) {
				t.Fatalf("%s of %s is read, which is the schedule's", id, when)
			}
			if !when.Before(since) && when.Before(until) && !slices.Contains(items, id) {
				t.Fatalf("%s of %s is lost", id, when)
			}
		}
	})
}
