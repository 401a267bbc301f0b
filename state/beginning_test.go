package state

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

func TestARunThatTookHeldBackObjectsWithItBringsEverythingAgain(t *testing.T) {
	for name, how := range map[string]func(r *rig, run *RunCheckpoint) error{
		"found by the run":          func(r *rig, run *RunCheckpoint) error { return run.Revoke(r.t.Context()) },
		"found by the next process": func(r *rig, run *RunCheckpoint) error { return r.Void(r.t.Context(), "work_3") },
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, openctitest.Config{})
			r.mustOpen(r.begin(), "work_1")
			second := r.begin()
			r.mustOpen(second, "work_2")
			r.mustCommit(second, "iocs", within("3"))
			r.index.holdsBack = true
			run := r.begin()
			emptied := r.index.emptied
			r.mustOpen(run, "work_3")
			r.mustCommit(run, "iocs", within("9"))
			if err := how(r, run); err != nil {
				t.Fatal(err)
			}
			r.index.holdsBack = false
			again := r.restart()
			if c := again.begin().Cursor("iocs"); c.Pass != nil || c.Since.Before(importStart) || c.Since.After(importStart.Add(24*time.Hour)) {
				t.Errorf("%s: the next run begins at %+v", name, c)
			}
			if r.index.emptied != emptied || !again.Doubted()[run.run] {
				t.Errorf("%s: the index was emptied, or the run is not doubted", name)
			}
			// The works before lead no further ahead than that.
			if err := again.Void(t.Context(), "work_2"); err != nil {
				t.Fatal(err)
			}
			if c := again.begin().Cursor("iocs"); c.Pass != nil {
				t.Errorf("%s: another deleted work lets it begin at %+v", name, c.Pass)
			}
		})
	}
}

func TestEverythingIsImportedAgainFromWhereItWasFirstImportedFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		r.mustCommit(r.begin(), "alerts", pipeline.Cursor{Since: importStart.AddDate(0, 0, 3), Failed: []string{"17"}})
		time.Sleep(90 * 24 * time.Hour) // longer than the window
		r.index.holdsBack = true
		run := r.begin()
		r.mustOpen(run, "work_1")
		r.mustCommit(run, "alerts", done())
		if err := run.Revoke(t.Context()); err != nil {
			t.Fatal(err)
		}
		for what, again := range map[string]*rig{"in the same process": r, "in the next one": r.restart()} {
			for _, name := range []string{"alerts", "iocs"} {
				if c := again.begin().Cursor(name); !c.Since.Equal(importStart) || c.Pass != nil {
					t.Errorf("%s %s go on at %+v", what, name, c)
				}
			}
		}
		if !r.failed("everything is imported again") {
			t.Errorf("logged %v", r.log.All())
		}
	})
}

func TestAStateWithoutItsBeginningBeginsWhereItsDatasetsDo(t *testing.T) {
	d := document{place: place{lastRun: passStart, datasets: map[string]pipeline.Cursor{"iocs": {Since: importStart.AddDate(-1, 0, 0)}, "alerts": done()}}}
	if d.begin(importStart, nil); !d.beginning.Equal(importStart.AddDate(-1, 0, 0)) {
		t.Errorf("it begins at %v", d.beginning)
	}
	if d.begin(importStart.AddDate(-5, 0, 0), nil); !d.beginning.Equal(importStart.AddDate(-1, 0, 0)) {
		t.Errorf("later it begins at %v", d.beginning)
	}
}

func TestADatasetThatIsEnabledLaterMayBeginBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		first := r.begin()
		r.mustCommit(first, "alerts", done())
		r.mustCommit(first, "iocs", done())
		long := importStart.AddDate(-1, 0, 0)
		later := join(t, r.platform, r.index, "alerts", "iocs", "reports")
		later.cfg.ImportFrom = func() time.Time { return long }
		if err := later.adopt(); err != nil {
			t.Fatal(err)
		}
		later.mustCommit(later.begin(), "reports", done())
		later.cfg.ImportFrom = func() time.Time { return importStart }
		later.index.holdsBack = true
		run := later.begin()
		later.mustOpen(run, "work_1")
		if err := run.Revoke(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c := later.begin().Cursor("reports"); !c.Since.Equal(long) {
			t.Errorf("it goes on at %+v", c)
		}
	})
}

func TestAWorkThatLeadsToTheBeginningDoesSoAfterAnEarlierOneWasVoid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		r.mustCommit(r.begin(), "alerts", done())
		first := r.begin()
		r.mustOpen(first, "work_1")
		r.index.holdsBack = true // an object of an earlier work was put back
		r.mustOpen(r.begin(), "work_2")
		for _, work := range []string{"work_1", "work_2"} {
			if err := r.Void(t.Context(), work); err != nil {
				t.Fatal(err)
			}
		}
		if c := r.begin().Cursor("alerts"); !c.Since.Equal(importStart) {
			t.Errorf("it goes on at %+v", c)
		}
	})
}
