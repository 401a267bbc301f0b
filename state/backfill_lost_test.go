package state

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

func firstOf(y int) time.Time { return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC) }

// Cancel, order an earlier window with the same end, while the cancelled run still settles.
func TestLateCommitOfACancelledBackfillNarrowsTheNewOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		r.imported()
		r.mustOrder(longAgo) // from 2015
		run := r.begin()
		r.mustOpen(run, "work_1")
		r.mustCommit(run, InBackfill("iocs"), windowed("5"))
		if _, err := r.CancelBackfill(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.mustOrder(firstOf(2010))                           // up to the same end
		r.mustCommit(run, InBackfill("iocs"), windowed("9")) // of the run that is about to end
		if c := r.begin().Cursor(InBackfill("iocs")); !c.Since.Equal(firstOf(2010)) {
			t.Errorf("ordered from 2010, the next run reads from %+v", c)
		}
		r.mustCommit(run, InBackfill("iocs"), windowDone()) // or it even came to its end
		if b := r.Backfill(); !slices.Contains(b.Datasets, "iocs") {
			t.Errorf("iocs of 2010 to 2015 were never read, left to do: %s", b)
		}
	})
}

// A dataset that the schedule does not read, and a work that leads to the beginning.
func TestADoneBackfillOfADatasetThatIsOffIsLostWithItsWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := join(t, platform(t, openctitest.Config{}), &folder{}, "alerts")
		if err := r.adopt(); err != nil {
			t.Fatal(err)
		}
		run := r.begin()
		r.mustCommit(run, "alerts", done())
		if _, err := r.OrderBackfill(t.Context(), longAgo, time.Time{}, []string{"alerts", "iocs"}); err != nil {
			t.Fatal(err)
		}
		r.index.holdsBack = true // as usual
		run = r.begin()
		r.mustOpen(run, "work_1")
		r.mustCommit(run, InBackfill("iocs"), windowDone())
		if err := r.Void(t.Context(), "work_1"); err != nil {
			t.Fatal(err)
		}
		if b := r.Backfill(); !slices.Contains(b.Datasets, "iocs") {
			t.Errorf("OpenCTI dropped the iocs of the window, left to do: %s; state %s", b, r.Text())
		}
	})
}

// Merged windows claim what one dataset never had.
func TestMergedWindowsClaimTooMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		r.imported()
		order := func(from time.Time, name string) error {
			_, err := r.OrderBackfill(t.Context(), from, time.Time{}, []string{name})
			return err
		}
		if err := order(longAgo, "iocs"); err != nil {
			t.Fatal(err)
		}
		run := r.begin()
		r.mustOpen(run, "work_1")
		r.mustCommit(run, InBackfill("iocs"), windowDone())
		if err := order(firstOf(2010), "alerts"); err != nil {
			t.Fatal(err)
		}
		if err := r.Void(t.Context(), "work_1"); err != nil {
			t.Fatal(err)
		}
		run = r.begin()
		t.Logf("iocs from %v, alerts from %v", run.Cursor(InBackfill("iocs")).Since, run.Cursor(InBackfill("alerts")).Since)
		r.mustCommit(run, InBackfill("iocs"), windowDone())
		r.mustCommit(run, InBackfill("alerts"), windowDone())
		if err := order(firstOf(2010), "iocs"); err != nil {
			t.Errorf("iocs of 2010 to 2015 were never read: %v", err)
		}
	})
}

// A dataset that was enabled later begins later than the others.
func TestADatasetThatWasEnabledLaterHasAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		index := &folder{}
		p := platform(t, openctitest.Config{})
		r := join(t, p, index, "alerts")
		if err := r.adopt(); err != nil {
			t.Fatal(err)
		}
		r.mustCommit(r.begin(), "alerts", done())
		again := join(t, p, index, "alerts", "iocs")
		again.starts = 365 // a year later, with a start before now
		if err := again.adopt(); err != nil {
			t.Fatal(err)
		}
		run := again.begin()
		since := run.Cursor("iocs").Since
		again.mustCommit(run, "iocs", pipeline.Cursor{Since: since.AddDate(0, 0, 1)})
		again.mustCommit(run, "alerts", pipeline.Cursor{Since: since.AddDate(0, 0, 1)})
		b, err := again.OrderBackfill(t.Context(), longAgo, time.Time{}, []string{"iocs"})
		if err != nil || b.To.Before(since) {
			t.Errorf("the schedule reads iocs since %s, a backfill of iocs without an end reads %s: %v", since, b, err)
		}
		again.mustCommit(again.begin(), InBackfill("iocs"), pipeline.Cursor{Since: b.To, Until: b.To})
		if _, err := again.OrderBackfill(t.Context(), importStart, time.Time{}, []string{"iocs"}); err != nil {
			t.Errorf("iocs from %s to %s: %v", importStart, since, err)
		}
	})
}

// Done, lost, cancelled.
func TestABackfillThatCameBackAndWasCancelledIsNotDone(t *testing.T) {
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
		if _, err := r.CancelBackfill(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := r.order(longAgo); err != nil {
			t.Errorf("OpenCTI has nothing of it: %v", err)
		}
	})
}

// Ordered before the first run, with a start that moves.
func TestOrderedBeforeTheFirstRunThereIsAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		b := r.mustOrder(longAgo)
		since := r.begin().Cursor("iocs").Since // ImportFrom moves, as a duration before now does
		if b.To.Before(since) {
			t.Errorf("the backfill ends at %s, the schedule begins at %s", b.To, since)
		}
	})
}

// The advice to order again.
func TestWhatFailedCanBeOrderedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := join(t, platform(t, openctitest.Config{}), &folder{}, "alerts")
		if err := r.adopt(); err != nil {
			t.Fatal(err)
		}
		r.mustCommit(r.begin(), "alerts", done())
		order := func() error {
			_, err := r.OrderBackfill(t.Context(), longAgo, time.Time{}, []string{"alerts", "iocs"})
			return err
		}
		if err := order(); err != nil {
			t.Fatal(err)
		}
		run := r.begin()
		failed := windowDone()
		failed.Failed = []string{"7"}
		r.mustCommit(run, InBackfill("iocs"), failed)
		r.mustCommit(run, InBackfill("alerts"), windowDone())
		if !r.failed("order it again") {
			t.Fatal("not told")
		}
		if err := order(); err != nil {
			t.Errorf("order it again: %v", err)
		}
	})
}

// 8b. before the first run of the schedule, of a dataset that it reads.
func TestWhatFailedBeforeTheFirstRunIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		r.mustOrder(longAgo)
		run := r.begin()
		failed := windowDone()
		failed.Failed = []string{"7"}
		r.mustCommit(run, InBackfill("iocs"), failed)
		if c := r.begin().Cursor("iocs"); !slices.Contains(c.Failed, "7") {
			t.Errorf("the schedule, which reads iocs, owes %+v; %v", c, r.log.All())
		}
	})
}

// Cancelled, ordered once more, and the work of the cancelled run is deleted.
func TestADeletedWorkOfACancelledBackfillTakesTheSameOneBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		r.imported()
		r.mustOrder(longAgo)
		run := r.begin()
		r.mustOpen(run, "work_1")
		r.mustCommit(run, InBackfill("iocs"), windowed("9")) // delivers items up to 9
		if _, err := r.CancelBackfill(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.mustOrder(longAgo)
		run = r.begin()
		r.mustOpen(run, "work_2")
		r.mustCommit(run, InBackfill("iocs"), windowed("50")) // up to 9 all was delivered before
		if err := r.Void(t.Context(), "work_1"); err != nil {
			t.Fatal(err)
		}
		if c := r.begin().Cursor(InBackfill("iocs")); c.Pass != nil && c.Pass.After == "50" {
			t.Errorf("items up to 9 went with work_1, and the backfill goes on at %+v %+v", c, *c.Pass)
		}
	})
}

// A platform that refuses the question, and loses one answer.
type refusing struct {
	pings atomic.Int64
	lose  int64
}

func (p *refusing) Ping(_ context.Context, state string) (Held, error) {
	if p.pings.Add(1) == p.lose {
		return Held{}, &CallError{Err: errors.New("timed out"), Temporary: true}
	}
	return Held{State: state}, nil
}

func (p *refusing) ConnectorState(context.Context) (Held, error) {
	return Held{}, &CallError{Err: errors.New("forbidden"), Refused: true}
}

func (p *refusing) Register(context.Context) (Held, error) { return Held{}, nil }

func TestAPlatformThatRefusesTheQuestionIsPingedAfterALostAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &refusing{lose: 3}
		k := NewKeeper(Config{Platform: p, Index: &folder{}, Enabled: []string{"alerts"}, ImportFrom: func() time.Time { return importStart }})
		if err := k.Adopt(t.Context(), Held{}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); k.Heartbeat(ctx) }()
		time.Sleep(2 * time.Hour)
		n := p.pings.Load()
		err := k.Begin(t.Context(), 1).Opened(t.Context(), "work_1")
		cancel()
		<-ended
		if n < 100 || err != nil {
			t.Errorf("%d pings in two hours, then a work could not be noted: %v", n, err)
		}
	})
}

// An order of more datasets than are under way.
func TestAnOrderOfMoreDatasetsIsNotTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		r.imported()
		if _, err := r.OrderBackfill(t.Context(), longAgo, time.Time{}, []string{"iocs"}); err != nil {
			t.Fatal(err)
		}
		b, err := r.OrderBackfill(t.Context(), longAgo, time.Time{}, []string{"iocs", "alerts"})
		if err == nil && !slices.Contains(b.Datasets, "alerts") {
			t.Errorf("alerts were ordered, no error came, and what is to do is %s", b)
		}
	})
}

// An import takes over a backfill, but not where its window begins.
// The connector is deleted, and its queue with it, after a backfill was done.
func TestADoneBackfillIsNotForgottenInSilence(t *testing.T) {
	for name, lose := range map[string]func(r *rig) error{
		"deleted": func(r *rig) error { return r.platform.DeleteConnector() },
		"reset":   func(r *rig) error { return r.platform.Reset() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, openctitest.Config{})
				r.imported()
				r.mustOrder(longAgo)
				run := r.begin()
				r.mustOpen(run, "work_1") // OpenCTI has not imported it yet
				r.mustCommit(run, InBackfill("iocs"), windowDone())
				r.mustCommit(run, InBackfill("alerts"), windowDone())
				if err := lose(r); err != nil {
					t.Fatal(err)
				}
				r.watchFor(2 * time.Minute)
				for _, e := range r.log.All() {
					t.Log(e.Level, e.Message)
				}
				next := r.begin()
				if !r.failed("backfill") && next.Cursor("iocs").Since.After(longAgo) {
					t.Errorf("all begins again at %s, and nobody says that the window since 2015 does not", next.Cursor("iocs").Since)
				}
			})
		})
	}
}

// TestAResetForgetsNoBackfillWhereThereWasNone begins the import between two seconds, as a duration before now does.
func TestAResetForgetsNoBackfillWhereThereWasNone(t *testing.T) {
	for name, between := range map[string]time.Duration{"just after a second": 72023 * time.Microsecond, "just before a second": time.Second - 1, "at a second": 0} {
		t.Run(name, func(t *testing.T) {
			everyPlatform(t, func(t *testing.T, cfg openctitest.Config) {
				r := newRig(t, cfg)
				r.cfg.ImportFrom = func() time.Time { return time.Now().Truncate(time.Second).Add(between).AddDate(0, 0, -30) }
				for range 3 {
					run := r.begin()
					for _, dataset := range []string{"alerts", "iocs"} {
						r.mustCommit(run, dataset, pipeline.Cursor{Since: time.Now()})
					}
					if err := r.platform.Reset(); err != nil {
						t.Fatal(err)
					}
					r.watchFor(2 * time.Minute)
				}
				if r.expectResets(3); r.failed("backfill") {
					t.Errorf("%v", r.log.All())
				}
			})
		})
	}
}

// OpenCTI is restored from a backup of before the order.
func TestABackfillThatABackupDoesNotKnowIsNotForgottenInSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		r.imported()
		r.beatOnce()
		backup := r.platform.Snapshot()
		r.mustOrder(longAgo)
		r.platform.Restore(backup)
		r.watchFor(3 * time.Minute)
		for _, e := range r.log.All() {
			t.Log(e.Level, e.Message)
		}
		if len(r.Backfill().Datasets) == 0 && !r.failed("backfill") {
			t.Error("the backfill is gone, and nobody says so")
		}
	})
}
