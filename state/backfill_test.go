package state

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

var longAgo = time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC)

// order orders a backfill of both datasets up to where the import began.
func (r *rig) order(from time.Time) (Backfill, error) {
	return r.OrderBackfill(r.t.Context(), from, time.Time{}, []string{"alerts", "iocs"})
}

func (r *rig) mustOrder(from time.Time) Backfill {
	r.t.Helper()
	b, err := r.order(from)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

// windowed is a cursor within a backfill, windowDone the one behind it.
func windowed(after string) pipeline.Cursor {
	return pipeline.Cursor{Since: longAgo, Until: importStart, Pass: &pipeline.Pass{Started: passStart, After: after}}
}

func windowDone() pipeline.Cursor { return pipeline.Cursor{Since: importStart, Until: importStart} }

// imported brings a state as after a first run.
func (r *rig) imported() {
	r.t.Helper()
	run := r.begin()
	r.mustCommit(run, "alerts", done())
	r.mustCommit(run, "iocs", done())
}

func TestABackfillIsKeptBesideTheScheduleUntilItIsDone(t *testing.T) {
	everyPlatform(t, func(t *testing.T, cfg openctitest.Config) {
		r := newRig(t, cfg)
		r.imported()
		if b := r.mustOrder(longAgo); !b.From.Equal(longAgo) || !b.To.Equal(importStart) || !slices.Equal(b.Datasets, []string{"alerts", "iocs"}) {
			t.Errorf("ordered %s", b)
		}
		run := r.begin()
		if c := run.Cursor(InBackfill("iocs")); !c.Since.Equal(longAgo) || !c.Until.Equal(importStart) || c.Pass != nil {
			t.Errorf("it begins at %+v", c)
		}
		r.mustCommit(run, InBackfill("iocs"), windowed("5"))
		again := r.restart()
		if c := again.begin().Cursor(InBackfill("iocs")); c.Pass == nil || c.Pass.After != "5" {
			t.Errorf("the next process goes on at %+v", c)
		}
		if c := again.begin().Cursor("iocs"); c.Pass != nil || !c.Since.Equal(passStart) {
			t.Errorf("the schedule goes on at %+v", c)
		}
		if b := again.mustOrder(longAgo.Add(time.Minute)); !b.From.Equal(longAgo) {
			t.Errorf("ordered again, as with a duration before now, it is %s", b)
		}
		if _, err := again.order(longAgo.AddDate(-1, 0, 0)); !errors.Is(err, ErrOtherBackfill) {
			t.Errorf("another window meanwhile: %v", err)
		}
		if _, err := again.order(importStart.Add(time.Hour)); !errors.Is(err, ErrNothingToBackfill) {
			t.Errorf("what lies behind the one under way: %v", err)
		}
		last := again.begin()
		again.mustCommit(last, InBackfill("iocs"), windowDone())
		if b := again.Backfill(); !slices.Equal(b.Datasets, []string{"alerts"}) {
			t.Errorf("left to do: %s", b)
		}
		again.mustCommit(last, InBackfill("alerts"), windowDone())
		if b := again.Backfill(); len(b.Datasets) > 0 || !again.ImportedFrom().Equal(longAgo) {
			t.Errorf("in the end %s is left, and everything is imported since %s", b, again.ImportedFrom())
		}
		if _, err := again.order(importStart); !errors.Is(err, ErrNothingToBackfill) {
			t.Errorf("what the schedule imports: %v", err)
		}
		if b := again.mustOrder(longAgo.AddDate(-1, 0, 0)); !b.To.Equal(importStart) {
			t.Errorf("an earlier one is %s", b)
		}
	})
}

// An order for a dataset of which the window under way is done, up to where its import began, is for what lies behind that window, too.
func TestAnOrderThatReachesFurtherThanADonePartIsNotCovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		r.imported()
		end := longAgo.AddDate(1, 0, 0)
		if _, err := r.OrderBackfill(t.Context(), longAgo, end, []string{"alerts", "iocs"}); err != nil {
			t.Fatal(err)
		}
		r.mustCommit(r.begin(), InBackfill("alerts"), pipeline.Cursor{Since: end, Until: end})
		for _, name := range []string{"alerts", "iocs"} {
			if b, err := r.OrderBackfill(t.Context(), longAgo, time.Time{}, []string{name}); !errors.Is(err, ErrOtherBackfill) {
				t.Errorf("an order of all of %s is taken as covered by %s (%v)", name, b, err)
			}
			if _, err := r.OrderBackfill(t.Context(), longAgo, end, []string{name}); err != nil {
				t.Errorf("an order of the window of %s under way: %v", name, err)
			}
		}
	})
}

// What the schedule has begun to import since the order stays what a lost work leads back to.
func TestACancelledBackfillLeavesTheBeginningOfWhatWasImportedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		r.imported()
		r.mustOrder(longAgo)
		r.begin()
		r.beatOnce()
		between := longAgo.AddDate(5, 0, 0)
		r.put(SetSince(r.held(), "alerts", between, []string{"alerts", "iocs"}))
		again := r.restart()
		again.index.holdsBack = true
		run := again.begin()
		again.mustOpen(run, "work_1")
		again.mustCommit(run, "alerts", pipeline.Cursor{Since: passStart.Add(time.Hour)})
		if _, err := again.CancelBackfill(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := again.Void(t.Context(), "work_1"); err != nil {
			t.Fatal(err)
		}
		again.index.holdsBack = false
		if c := again.begin().Cursor("alerts"); c.Since.After(between) {
			t.Errorf("after the work of a run since %s was lost, the next begins at %s", between, c.Since)
		}
	})
}

func TestABackfillOfADatasetThatIsOffGoesOnWhenItIsOrderedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now().AddDate(-1, 0, 0)
		d := document{place: place{importFrom: began}.clone()}
		order := func() (changed bool, err error) {
			return d.orderBackfill(began.AddDate(-1, 0, 0), time.Time{}, []string{"reports"}, began, []string{"alerts"})
		}
		if changed, err := order(); err != nil || !changed || !d.backfill["reports"].Until.Equal(time.Now()) {
			t.Errorf("ordered %+v: %v", d.backfill, err)
		}
		time.Sleep(time.Hour)
		if changed, err := order(); err != nil || changed {
			t.Errorf("ordered again it is another one (%t): %v", changed, err)
		}
	})
}

func TestACancelledBackfillStaysCancelledAndClaimsNothing(t *testing.T) {
	for _, byItself := range []bool{false, true} { // the run finds out that its work is gone
		cancelled(t, byItself)
	}
}

func cancelled(t *testing.T, byItself bool) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		r.imported()
		beginning := r.doc.beginning
		r.mustOrder(longAgo)
		run := r.begin()
		r.mustOpen(run, "work_1")
		r.mustCommit(run, InBackfill("iocs"), windowed("5"))
		if !r.doc.beginning.Equal(longAgo) {
			t.Errorf("meanwhile everything is where it began at %s", r.doc.beginning)
		}
		if was, err := r.CancelBackfill(t.Context()); err != nil || len(was.Datasets) != 2 {
			t.Fatalf("cancelled %s: %v", was, err)
		}
		r.mustCommit(run, InBackfill("iocs"), windowed("9")) // of the run that is about to end
		if b := r.Backfill(); len(b.Datasets) > 0 {
			t.Errorf("a late commit brings %s back", b)
		}
		if byItself {
			run.Gone()
		} else if err := r.Void(t.Context(), "work_1"); err != nil {
			t.Fatal(err)
		}
		if b := r.Backfill(); len(b.Datasets) > 0 {
			t.Errorf("a deleted work brings %s back", b)
		}
		if again := r.restart(); !again.doc.beginning.Equal(beginning) {
			t.Errorf("a process after it goes back to %s, want %s", again.doc.beginning, beginning)
		}
		if b := r.mustOrder(longAgo); !b.To.Equal(importStart) {
			t.Errorf("ordered once more it is %s", b)
		}
	})
}

func TestADeletedWorkTakesBackWhatItsRunHasDoneOfTheBackfill(t *testing.T) {
	for name, deleted := range map[string]struct {
		work string
		want string // the position from which iocs go on, "-" for the begin of the window
	}{
		"of the schedule, before":    {"work_1", "9"},
		"of the backfill's first":    {"work_2", "-"},
		"of the backfill's second":   {"work_3", "5"},
		"of the schedule, meanwhile": {"work_4", "9"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, openctitest.Config{})
				run := r.begin()
				r.mustOpen(run, "work_1")
				r.mustCommit(run, "iocs", done())
				r.mustOrder(longAgo)
				for i, after := range []string{"5", "9"} {
					run = r.begin()
					r.mustOpen(run, []string{"work_2", "work_3"}[i])
					r.mustCommit(run, InBackfill("iocs"), windowed(after))
				}
				run = r.begin()
				r.mustOpen(run, "work_4")
				r.mustCommit(run, "iocs", pipeline.Cursor{Since: passStart.Add(time.Hour)})
				if err := r.Void(t.Context(), deleted.work); err != nil {
					t.Fatal(err)
				}
				c := r.restart().begin().Cursor(InBackfill("iocs"))
				at := "-"
				if c.Pass != nil {
					at = c.Pass.After
				}
				if at != deleted.want || !c.Since.Equal(longAgo) || !c.Until.Equal(importStart) {
					t.Errorf("it goes on at %+v, want %s", c, deleted.want)
				}
			})
		})
	}
}

func TestABackfillThatWasDoneComesBackWithTheWorkThatLostIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		r.imported()
		r.mustOrder(longAgo)
		run := r.begin()
		r.mustOpen(run, "work_1")
		r.mustCommit(run, InBackfill("iocs"), windowDone())
		r.mustCommit(run, InBackfill("alerts"), windowDone())
		if err := r.Void(t.Context(), "work_1"); err != nil {
			t.Fatal(err)
		}
		if b := r.restart().Backfill(); len(b.Datasets) != 2 || !b.From.Equal(longAgo) || !b.To.Equal(importStart) {
			t.Errorf("left to do: %s", b)
		}
	})
}

func TestWhatFailedInABackfillIsTriedAgainByTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		r.imported()
		r.mustOrder(longAgo)
		run := r.begin()
		failed := windowDone()
		failed.Failed, failed.Gone = []string{"7"}, []string{"8"}
		r.mustCommit(run, InBackfill("alerts"), failed)
		r.mustCommit(run, InBackfill("iocs"), windowDone())
		if c := r.begin().Cursor("alerts"); !slices.Equal(c.Failed, []string{"7"}) || !slices.Equal(c.Gone, []string{"8"}) {
			t.Errorf("the schedule owes %+v", c)
		}
		if len(r.Backfill().Datasets) > 0 {
			t.Errorf("left to do: %s", r.Backfill())
		}
	})
}

func TestAResetForgetsTheBackfillAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		r.imported()
		r.mustOrder(longAgo)
		if err := r.platform.Reset(); err != nil {
			t.Fatal(err)
		}
		r.watchFor(time.Minute)
		if len(r.Backfill().Datasets) > 0 || !r.failed("the backfill under way is forgotten") {
			t.Errorf("left to do: %s; %v", r.Backfill(), r.log.All())
		}
	})
}

func TestALostIndexLetsTheBackfillsPassBeginAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		r.imported()
		r.mustOrder(longAgo)
		r.mustCommit(r.begin(), InBackfill("iocs"), windowed("5"))
		r.index.number++ // another one
		if c := r.restart().begin().Cursor(InBackfill("iocs")); c.Pass == nil || c.Pass.After != "" || !c.Since.Equal(longAgo) {
			t.Errorf("it goes on at %+v", c)
		}
	})
}

func TestWhereABackfillGoesOnWhenAWorkIsLost(t *testing.T) {
	from := func(year int) time.Time { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) }
	at := func(order uint64, begin, end int, after string) window {
		w := window{Cursor: pipeline.Cursor{Since: from(begin), Until: from(end)}, From: from(begin), Order: order}
		if after != "" {
			w.Pass = &pipeline.Pass{Started: passStart, After: after}
		}
		return w
	}
	finished := at(1, 2020, 2025, "")
	finished.Since = finished.Until
	const cancelled = 1
	for name, tt := range map[string]struct {
		old, now, want window // none has no order
		beginning      bool
	}{
		"the same order":                       {old: at(2, 2020, 2025, "3"), now: at(2, 2020, 2025, "9"), want: at(2, 2020, 2025, "3")},
		"one that is over":                     {old: at(2, 2020, 2025, "3"), want: at(2, 2020, 2025, "3")},
		"one that was cancelled":               {old: at(cancelled, 2020, 2025, "3")},
		"one after one that was cancelled":     {old: at(cancelled, 2020, 2025, "3"), now: at(2, 2010, 2025, "9"), want: at(2, 2010, 2025, "")},
		"the same after one was cancelled":     {old: at(cancelled, 2020, 2025, "3"), now: at(2, 2020, 2025, "9"), want: at(2, 2020, 2025, "")},
		"one after another":                    {old: at(2, 2020, 2025, "3"), now: at(3, 2010, 2020, "9"), want: at(3, 2010, 2025, "")},
		"one that was ordered since":           {now: at(2, 2020, 2025, "9"), want: at(2, 2020, 2025, "9")},
		"from the beginning":                   {beginning: true, now: at(2, 2020, 2025, "9"), want: at(2, 2020, 2025, "")},
		"one that is done, from the beginning": {beginning: true, now: finished, want: at(1, 2020, 2025, "")},
	} {
		p, now := place{}.clone(), map[string]window{}
		if tt.old.Order > 0 {
			p.backfill["alerts"] = tt.old
		}
		if tt.now.Order > 0 {
			now["alerts"] = tt.now
		}
		p.keepBackfill(now, []uint64{cancelled}, tt.beginning)
		if diff := cmp.Diff(tt.want, p.backfill["alerts"]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
