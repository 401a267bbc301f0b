package state

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// mustOpen notes the work of a run.
func (r *rig) mustOpen(c *RunCheckpoint, work string) {
	r.t.Helper()
	if err := c.Opened(r.t.Context(), work); err != nil {
		r.t.Fatal(err)
	}
	if held := r.platform.State(); held != r.Text() || !strings.Contains(held, work) {
		r.t.Fatalf("opened %s, the platform holds %s", work, held)
	}
}

// restart joins as the next process does, with the index of this one.
func (r *rig) restart() *rig {
	r.t.Helper()
	again := join(r.t, r.platform, r.index, "alerts", "iocs")
	if err := again.adopt(); err != nil {
		r.t.Fatal(err)
	}
	return again
}

func (r *rig) workIDs() []string {
	var ids []string
	for _, w := range r.Works() {
		ids = append(ids, w.ID)
	}
	return ids
}

func (r *rig) warned(text string) bool {
	return r.log.FilterLevelExact(zapcore.WarnLevel).Filter(func(e observer.LoggedEntry) bool { return strings.Contains(e.Message, text) }).Len() > 0
}

// failed says that something was named at error, which is all that is logged unless more is asked for.
func (r *rig) failed(text string) bool {
	return r.log.FilterLevelExact(zapcore.ErrorLevel).FilterMessageSnippet(text).Len() > 0
}

func TestAWorkIsKnownToTheNextProcessUntilItIsImported(t *testing.T) {
	everyPlatform(t, func(t *testing.T, cfg openctitest.Config) {
		r := newRig(t, cfg)
		run := r.begin()
		r.mustOpen(run, "work_1") // before anything was committed
		if works := r.restart().Works(); len(works) != 1 || works[0].ID != "work_1" || works[0].Run != run.run || !works[0].Open || works[0].Opened.IsZero() {
			t.Errorf("the next process knows of %+v", works)
		}
		r.mustCommit(run, "iocs", done())
		if err := r.Closed(t.Context(), "work_1"); err != nil {
			t.Fatal(err)
		}
		again := r.restart()
		if works := again.Works(); len(works) != 1 || works[0].Open {
			t.Errorf("of a closed work the next process knows %+v", works)
		}
		again.Imported("work_1")
		again.mustCommit(again.begin(), "iocs", done())
		if works := again.restart().Works(); len(works) != 0 {
			t.Errorf("once it is imported, %+v is still known", works)
		}
	})
}

func TestAWorkThatCannotBeNotedIsNotPublishedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		run := r.begin()
		r.platform.Fault(openctitest.Rule{Operation: "pingConnector", Do: openctitest.GraphQLError("FORBIDDEN_ACCESS", "no")})
		if err := run.Opened(t.Context(), "work_1"); err == nil || errors.Is(err, pipeline.ErrAbandon) {
			t.Errorf("Opened() = %v", err)
		}
		r.Forget()
		if err := run.Opened(t.Context(), "work_1"); !errors.Is(err, ErrReset) || len(r.Works()) > 0 {
			t.Errorf("after a reset: %v, %v", err, r.Works())
		}
	})
}

func TestTheOldestOfTooManyWorksGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		for n := range mostWorks + 3 {
			if r.failed("too many works") != (n > mostWorks) {
				t.Fatalf("after %d works: %v", n, r.log.All())
			}
			r.mustOpen(r.begin(), fmt.Sprint("work_", n))
		}
		if ids := r.workIDs(); len(ids) != mostWorks || ids[0] != "work_3" {
			t.Errorf("known are %v", ids)
		}
	})
}

func TestARunWhoseWorkIsGoneIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		first := r.begin()
		kept := within("5")
		from := "3"
		kept.Pass.KeptFrom = &from
		r.mustCommit(first, "iocs", kept)

		second := r.begin()
		emptied, index := r.index.emptied, r.index.ID()
		r.mustOpen(second, "work_2")
		r.mustCommit(second, "iocs", within("9"))
		r.mustCommit(second, "alerts", done())
		second.Gone()
		if text := r.Text(); strings.Contains(text, `"9"`) || strings.Contains(text, `"alerts":{`) || strings.Contains(text, "work_2") {
			t.Errorf("the next ping would carry %s", text)
		}
		if err := r.commit(second, "iocs", within("10")); !errors.Is(err, pipeline.ErrAbandon) || errors.Is(err, ErrReset) {
			t.Errorf("a commit of the run: %v", err)
		}
		for range 2 {
			if err := second.Revoke(t.Context()); err != nil {
				t.Fatal(err)
			}
			if held := r.platform.State(); held != r.Text() || strings.Contains(held, `"9"`) {
				t.Errorf("the platform holds %s", held)
			}
		}
		again := r.restart()
		third := again.begin()
		if c := third.Cursor("iocs"); c.Pass == nil || c.Pass.After != "3" || c.Pass.KeptFrom != nil {
			t.Errorf("the next run begins at %+v: what waited on the disk may have gone with the run", c.Pass)
		}
		if c := third.Cursor("alerts"); !c.Since.Equal(importStart) {
			t.Errorf("the next run begins at %+v", c)
		}
		if runs := again.Doubted(); !maps.Equal(runs, map[uint32]bool{second.run: true}) {
			t.Errorf("%v are doubted, the run was %d", runs, second.run)
		}
		if r.index.emptied != emptied || r.index.ID() != index {
			t.Error("the index was emptied: what OpenCTI has imported is sent again")
		}
		again.mustCommit(third, "iocs", within("4"))
		if runs := again.Doubted(); len(runs) != 1 {
			t.Errorf("after a commit %v are doubted", runs)
		}
	})
}

func TestOfSeveralDeletedWorksTheEarliestCounts(t *testing.T) {
	for _, order := range [][]int{{1}, {2}, {3}, {1, 3}, {3, 1}, {2, 3}, {3, 2}, {1, 2, 3}, {3, 2, 1}, {2, 1, 3}} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, openctitest.Config{})
			runs := map[int]uint32{}
			for n := 1; n <= 3; n++ {
				run := r.begin()
				runs[n] = run.run
				r.mustOpen(run, fmt.Sprint("work_", n))
				r.mustCommit(run, "iocs", within(fmt.Sprint(n)))
			}
			want := map[uint32]bool{}
			for i, n := range order {
				if err := r.Void(t.Context(), fmt.Sprint("work_", n)); err != nil {
					t.Fatal(err)
				}
				want[runs[n]] = true
				if i == 0 { // a run in between goes past where the later works began
					r.mustCommit(r.begin(), "iocs", within("7"))
				}
			}
			if err := r.Void(t.Context(), "work_77"); err != nil { // nobody knows it
				t.Fatal(err)
			}
			again := r.restart()
			at := again.begin().Cursor("iocs")
			got := 0
			if at.Pass != nil {
				_, _ = fmt.Sscan(at.Pass.After, &got)
			}
			switch earliest := slices.Min(order) - 1; {
			case len(order) == 1 && got != 7: // where the run in between got, which began at the work's start
				t.Errorf("%v: it begins at %d", order, got)
			case len(order) > 1 && got > earliest:
				t.Errorf("%v: it begins at %d, past what was dropped", order, got)
			}
			if !maps.Equal(again.Doubted(), want) {
				t.Errorf("%v: %v are doubted, want %v", order, again.Doubted(), want)
			}
			if left := len(again.Works()); left != 3-len(order) {
				t.Errorf("%v: %d works are left", order, left)
			}
		})
	}
}

func TestADeletedWorkLeadsNoFurtherAheadThanALostIndexAllows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		r.mustCommit(r.begin(), "iocs", within("5"))
		run := r.begin()
		r.mustOpen(run, "work_1")
		r.mustCommit(run, "iocs", within("9"))
		other := join(t, r.platform, &folder{name: " of another volume"}, "alerts", "iocs")
		if err := other.adopt(); err != nil {
			t.Fatal(err)
		}
		if err := other.Void(t.Context(), "work_1"); err != nil {
			t.Fatal(err)
		}
		if c := other.begin().Cursor("iocs"); c.Pass == nil || c.Pass.After != "" {
			t.Errorf("it begins at %+v", c.Pass)
		}
	})
}

func TestOneDeletedWorkTooManyKeepsTheIndex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		r.mustCommit(r.begin(), "iocs", within("5"))
		emptied := r.index.emptied
		var first, last *RunCheckpoint
		for n := range mostDoubted + 1 {
			if len(r.Doubted()) != n || r.errorsLogged() > 0 {
				t.Fatalf("after %d deleted works %d runs are doubted: %v", n, len(r.Doubted()), r.log.All())
			}
			last = r.begin()
			if n == 0 {
				first = last
			}
			r.mustOpen(last, "work")
			if err := last.Revoke(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if !r.failed("too many runs") {
			t.Errorf("nothing says so: %v", r.log.All())
		}
		again := r.restart()
		c, runs := again.begin().Cursor("iocs"), again.Doubted()
		if c.Pass == nil || c.Pass.After != "5" || len(runs) != mostDoubted || runs[first.run] || !runs[last.run] || r.index.emptied != emptied {
			t.Errorf("it begins at %+v with %d doubts", c, len(runs))
		}
	})
}

func TestAResetGoesFurtherThanADeletedWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		r.mustCommit(r.begin(), "iocs", within("5"))
		run := r.begin()
		r.mustOpen(run, "work_1")
		run.Gone()
		if err := r.platform.Reset(); err != nil {
			t.Fatal(err)
		}
		if err := run.Revoke(t.Context()); !errors.Is(err, ErrReset) {
			t.Errorf("Revoke() = %v", err)
		}
		if !claimsNothing(r.Text()) || len(r.Works())+len(r.Doubted()) > 0 {
			t.Errorf("after a reset the state is %s", r.Text())
		}
		r.expectResets(1)
		if err := run.Revoke(t.Context()); !errors.Is(err, ErrReset) || !claimsNothing(r.Text()) {
			t.Errorf("Revoke() again = %v", err)
		}
		next := r.begin()
		r.Forget()
		if err := next.Revoke(t.Context()); err != nil || !claimsNothing(r.Text()) {
			t.Errorf("Revoke() of a run that was reset = %v", err)
		}
	})
}

func TestDoubtsOutliveAStateOfNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		run := r.begin()
		r.mustOpen(run, "work_1")
		if err := run.Revoke(t.Context()); err != nil {
			t.Fatal(err)
		}
		again := r.restart()
		if next := again.begin(); !again.Doubted()[run.run] || !next.Cursor("iocs").Since.Equal(importStart) {
			t.Errorf("the next process begins at %+v and doubts %v", next.Cursor("iocs"), again.Doubted())
		}
	})
}

func TestHowFarAWorkWasFollowedIsKnownToTheNextProcess(t *testing.T) {
	r := newRig(t, openctitest.Config{})
	r.mustOpen(r.begin(), "work_1")
	r.Followed("work_1", 17, 1)
	r.Followed("work_2", 3, 0) // one that is not known any more
	r.beatOnce()
	if works := r.restart().Works(); len(works) != 1 || works[0].Errors != 17 || works[0].Failed() != 16 {
		t.Errorf("the next process knows of %+v", works)
	}
}

// What OpenCTI could not import is known to the disk alone. What the connector said as it closed the work of a run that was stopped is
// no such thing.
func TestALostIndexTakesBackTheRunsOfWhichAnImportFailedOnly(t *testing.T) {
	for errors, goesBack := range map[int]bool{0: false, 1: false, 2: true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, openctitest.Config{})
			r.imported()
			first := r.begin()
			r.mustOpen(first, "work_1")
			before := first.Cursor("iocs")
			r.mustCommit(first, "iocs", pipeline.Cursor{Since: before.Since.Add(time.Hour)})
			r.Followed("work_1", errors, min(errors, 1))
			r.beatOnce()
			r.index.number++ // another one
			if c := r.restart().begin().Cursor("iocs"); c.Since.Equal(before.Since) != goesBack {
				t.Errorf("after %d errors it begins at %s, the run began at %s", errors, c.Since, before.Since)
			}
		})
	}
}

func TestTheFirstOfTooManyDoubtsGivesWay(t *testing.T) {
	r := newRig(t, openctitest.Config{})
	r.mustOpen(r.begin(), "work_1")
	for n := range uint32(mostDoubted + 3) {
		if !r.Doubt(n+1) || r.Doubt(n+1) {
			t.Errorf("run %d was doubted twice, or not at all", n+1)
		}
	}
	doubted := r.Doubted()
	if len(doubted) != mostDoubted || doubted[3] || !doubted[4] || !r.failed("too many runs") {
		t.Errorf("%d runs are doubted: %v", len(doubted), doubted)
	}
	r.beatOnce()
	if again := r.restart().Doubted(); !maps.Equal(again, doubted) {
		t.Errorf("the next process doubts %v", again)
	}
}

func TestWhatARunBroughtOfWhatWasOwedIsOwedAgain(t *testing.T) {
	owing := func(after string, failed, gone []string) pipeline.Cursor {
		c := within(after)
		c.Failed, c.Gone = failed, gone
		return c
	}
	for name, holdsBack := range map[string]bool{"where its run began": false, "from the beginning": true} {
		for _, byRun := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, openctitest.Config{})
				r.mustCommit(r.begin(), "alerts", owing("1", []string{"17", "23", "42"}, []string{"5", "6"}))
				r.index.holdsBack = holdsBack
				run := r.begin()
				r.mustOpen(run, "work_1")
				r.mustCommit(run, "alerts", owing("2", []string{"23", "42", "77"}, []string{"6"}))
				r.mustCommit(run, "alerts", owing("3", []string{"42", "77"}, []string{"6", "23"}))
				if byRun {
					run.Gone()
				} else {
					r = r.restart()
					r.index.holdsBack = false
					later := r.begin()
					r.mustOpen(later, "work_2")
					r.mustCommit(later, "alerts", owing("4", []string{"77"}, []string{"6", "23"}))
					for _, work := range []string{"work_1", "work_2"} {
						if err := r.restart().Void(t.Context(), work); err != nil {
							t.Fatal(err)
						}
						r = r.restart()
					}
				}
				c := r.begin().Cursor("alerts")
				want := []string{"17", "23", "42", "5", "6", "77"}
				if got := slices.Sorted(slices.Values(slices.Concat(c.Failed, c.Gone))); !holdsBack && !slices.Equal(got, want) {
					t.Errorf("%s, by the run %t: owed are %v and %v", name, byRun, c.Failed, c.Gone)
				}
				if holdsBack && (!slices.Contains(c.Failed, "77") || !slices.Contains(c.Gone, "6") || c.Pass != nil || !c.Since.Equal(importStart)) {
					t.Errorf("%s, by the run %t: it begins at %+v", name, byRun, c)
				}
			})
		}
	}
}

func TestTheStateStaysSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		ids := func(from, n int) (ids []string) {
			for i := range n {
				ids = append(ids, fmt.Sprint(1000000+from+i))
			}
			return ids
		}
		owing := func(n int, failed, gone []string) pipeline.Cursor {
			return pipeline.Cursor{Since: passStart, Pass: &pipeline.Pass{Started: passStart, After: fmt.Sprint(n)}, Failed: failed, Gone: gone}
		}
		r.mustCommit(r.begin(), "alerts", owing(0, ids(0, 500), ids(9000, 100)))
		for n := range 2 * mostWorks { // the same items are owed by each run
			run := r.begin()
			r.mustOpen(run, fmt.Sprint("work_", n))
			r.mustCommit(run, "alerts", owing(n, ids(0, 500), ids(9000, 100)))
		}
		if size := len(r.Text()); size > 40_000 {
			t.Errorf("where the same is owed all along the state has %d bytes", size)
		}
		for n := range 2 * mostWorks { // each run brings all of it, and owes as much again
			run := r.begin()
			r.mustOpen(run, fmt.Sprint("work_", n))
			r.mustCommit(run, "alerts", owing(n, ids(1000*n, 500), ids(1000*n+500, 100)))
		}
		if size := len(r.Text()); size > 70_000 || len(r.Works()) != mostWorks {
			t.Errorf("at worst the state has %d bytes", size)
		}
		if err := r.Void(t.Context(), r.Works()[0].ID); err != nil {
			t.Fatal(err)
		}
		if c := r.begin().Cursor("alerts"); c.Pass != nil || !c.Since.Equal(importStart) {
			t.Errorf("the oldest work leads to %+v", c.Pass)
		}
	})
}
