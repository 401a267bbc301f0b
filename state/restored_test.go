package state

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
)

const restored = "as after OpenCTI was restored from a backup"

func TestAStateThatIsOlderThanTheIndexBeginsTheOpenWindowAnew(t *testing.T) {
	everyPlatform(t, func(t *testing.T, cfg openctitest.Config) {
		r := newRig(t, cfg)
		first := r.begin()
		r.mustCommit(first, "alerts", done())
		r.mustCommit(first, "iocs", within("3"))
		backup := r.platform.State()
		r.mustCommit(r.begin(), "iocs", within("9"))
		emptied := r.index.emptied
		r.platform.SetState(backup)

		again := r.restart()
		if !again.warned(restored) {
			t.Errorf("nothing says so: %v", again.log.All())
		}
		run := again.begin()
		if c := run.Cursor("iocs"); c.Pass == nil || c.Pass.After != "" || r.index.emptied != emptied+1 {
			t.Errorf("it begins at %+v; the index was emptied %d times", c.Pass, r.index.emptied-emptied)
		}
		if c := run.Cursor("alerts"); !c.Since.Equal(passStart) {
			t.Errorf("a pass that the backup has completed begins at %+v", c)
		}
		again.mustCommit(run, "iocs", within("4"))
		if next := again.restart(); next.warned(restored) || next.begin().Cursor("iocs").Pass.After != "4" || r.index.emptied != emptied+1 {
			t.Error("the next process takes its own state for a backup")
		}
	})
}

func TestNoStateButABackupIsTakenForOne(t *testing.T) {
	for name, happens := range map[string]func(t *testing.T, r *rig){
		"a restart":                  func(*testing.T, *rig) {},
		"a run that commits nothing": func(_ *testing.T, r *rig) { r.begin() },
		"a run without an answer to its commit": func(_ *testing.T, r *rig) {
			r.platform.Fault(openctitest.Rule{Operation: "pingConnector", Do: openctitest.GraphQLError("SOMETHING", "wrong")})
			_ = r.commit(r.begin(), "iocs", within("8"))
		},
		"a deleted work": func(t *testing.T, r *rig) {
			run := r.begin()
			r.mustOpen(run, "work_1")
			if err := run.Revoke(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		"storage that lags at the registration": func(t *testing.T, r *rig) {
			older := r.platform.State()
			r.mustCommit(r.begin(), "iocs", within("7"))
			newer := r.platform.State()
			r.platform.SetState(older)
			time.AfterFunc(2500*time.Millisecond, func() { r.platform.SetState(newer) })
		},
		"storage that lags while the platform is away": func(t *testing.T, r *rig) {
			older := r.platform.State()
			r.mustCommit(r.begin(), "iocs", within("7"))
			newer := r.platform.State()
			r.platform.SetState(older)
			r.platform.Fault(openctitest.Rule{Operation: "connector", To: 20, Do: openctitest.Status(502, "<html>")})
			time.AfterFunc(20*time.Second, func() { r.platform.SetState(newer) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, openctitest.Config{})
				for range 3 {
					run := r.begin()
					r.mustOpen(run, "work_0")
					r.mustCommit(run, "iocs", within("5"))
				}
				emptied := r.index.emptied
				happens(t, r)
				again := r.restart()
				again.begin()
				if again.warned(restored) || r.index.emptied != emptied {
					t.Errorf("the index was emptied %d times: %v", r.index.emptied-emptied, again.log.All())
				}
			})
		})
	}
	t.Run("a reset", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, openctitest.Config{})
			r.mustCommit(r.begin(), "iocs", within("5"))
			if err := r.platform.Reset(); err != nil {
				t.Fatal(err)
			}
			again := r.restart()
			run := again.begin()
			if again.warned(restored) || run.Cursor("iocs").Pass != nil {
				t.Errorf("a reset is something else: %v", again.log.All())
			}
			again.mustCommit(run, "iocs", within("1"))
			if next := again.restart(); next.warned(restored) || next.begin().Cursor("iocs").Pass.After != "1" {
				t.Error("the state after a reset is taken for a backup")
			}
		})
	})
	t.Run("another folder in between", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, openctitest.Config{})
			r.mustCommit(r.begin(), "iocs", within("5"))
			for _, f := range []*folder{{number: 77, counter: 99}, r.index} {
				other := join(t, r.platform, f, "alerts", "iocs")
				if err := other.adopt(); err != nil {
					t.Fatal(err)
				}
				if other.warned(restored) || !other.warned("not the one that the state belongs to") {
					t.Errorf("%v", other.log.All())
				}
				other.mustCommit(other.begin(), "iocs", within("6"))
			}
		})
	})
}

func TestTheIndexIsNeverAheadOfTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		r.index.counting = func(n uint64) {
			if d, err := parse(r.platform.State()); err != nil || d.commits < n {
				t.Errorf("the index counts %d commits, the platform holds %s", n, r.platform.State())
			}
		}
		for range 3 {
			run := r.begin()
			r.platform.StaleEcho(2)
			r.mustOpen(run, "work_1")
			r.mustCommit(run, "iocs", within("5"))
		}
		if r.index.Counter() != 6 || !strings.Contains(r.platform.State(), `"commits":6`) {
			t.Errorf("after six commits the index counts %d: %s", r.index.Counter(), r.platform.State())
		}
	})
}

func TestABackupOfTheSameRunIsRecognized(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		run := r.begin()
		r.mustCommit(run, "iocs", within("3"))
		backup := r.platform.State()
		r.mustCommit(run, "iocs", within("9"))
		r.platform.SetState(backup)
		again := r.restart()
		if c := again.begin().Cursor("iocs"); !again.warned(restored) || c.Pass == nil || c.Pass.After != "" {
			t.Errorf("it goes on at %+v", c)
		}
	})
}
