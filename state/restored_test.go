package state

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/pipeline"
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

func TestABackupGoesBackToTheWorksThatWereNotImportedByThen(t *testing.T) {
	for name, tt := range map[string]struct {
		before int // runs whose works were imported
		works  int // runs whose works were not
		want   time.Time
	}{
		"none":           {1, 0, passStart.Add(1 * time.Hour)},
		"a work":         {1, 1, passStart.Add(1 * time.Hour)},
		"several":        {2, 3, passStart.Add(2 * time.Hour)},
		"a first import": {0, 2, importStart},
	} {
		t.Run(name, func(t *testing.T) {
			everyPlatform(t, func(t *testing.T, cfg openctitest.Config) {
				r := newRig(t, cfg)
				for i := range tt.before + tt.works {
					run, id := r.begin(), "work_"+string(rune('a'+i))
					r.mustOpen(run, id)
					r.mustCommit(run, "iocs", pipeline.Cursor{Since: passStart.Add(time.Duration(1+i) * time.Hour)})
					if err := r.Closed(t.Context(), id); err != nil {
						t.Fatal(err)
					}
					if i < tt.before {
						r.Imported(id)
						r.beatOnce()
					}
				}
				backup := r.platform.State()
				r.mustCommit(r.begin(), "iocs", within("9"))
				r.platform.SetState(backup)
				again := r.restart()
				if c := again.begin().Cursor("iocs"); !c.Since.Equal(tt.want) || len(again.Works()) > 0 {
					t.Errorf("it begins at %+v: %s", c, again.Text())
				}
			})
		})
	}
}

func TestABackupFromBeforeTheFirstCommitIsRecognized(t *testing.T) {
	everyPlatform(t, func(t *testing.T, cfg openctitest.Config) {
		r := newRig(t, cfg)
		r.beatOnce()
		backup := r.platform.State()
		r.mustCommit(r.begin(), "iocs", done())
		run := r.begin()
		r.platform.SetState(backup)
		r.watchFor(time.Minute)
		if err := r.commit(run, "iocs", within("4")); !errors.Is(err, pipeline.ErrAbandon) {
			t.Errorf("a commit of the run under way: %v", err)
		}
		if c := r.begin().Cursor("iocs"); !c.Since.Equal(importStart.AddDate(0, 0, r.starts-1)) {
			t.Errorf("the next run begins at %+v, which is not the import start", c)
		}
	})
}

func TestARunThatHasBroughtNothingLeavesAStateThatIsNoBackup(t *testing.T) {
	everyPlatform(t, func(t *testing.T, cfg openctitest.Config) {
		r := newRig(t, cfg)
		r.mustOpen(r.begin(), "work_1")
		r.Imported("work_1")
		r.watchFor(5 * time.Minute)
		if r.backups > 0 || r.warned("restored from a backup") {
			t.Errorf("%s: %v", r.platform.State(), r.log.All())
		}
		if next := r.restart(); next.warned(restored) {
			t.Errorf("%s: %v", r.platform.State(), next.log.All())
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
			for _, f := range []*folder{{name: " of another volume", number: 77, counter: 99}, r.index} {
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
		if r.index.Counter() != 7 || !strings.Contains(r.platform.State(), `"commits":7`) { // the first says whose the state is
			t.Errorf("after six commits and a claim the index counts %d: %s", r.index.Counter(), r.platform.State())
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

func TestABackupIsRecognizedWhileTheConnectorRuns(t *testing.T) {
	away := openctitest.Rule{To: 3, Do: openctitest.Refuse}
	for name, notice := range map[string]func(r *rig, run *RunCheckpoint){
		"by the heartbeat": func(r *rig, _ *RunCheckpoint) {
			r.watchFor(time.Minute)
		},
		"by the heartbeat, which could not look at first": func(r *rig, _ *RunCheckpoint) {
			r.platform.Fault(openctitest.Rule{Operation: "connector", To: 8, Do: openctitest.Status(502, "<html>")})
			r.watchFor(3 * time.Minute)
		},
		"by a commit after the platform was away": func(r *rig, run *RunCheckpoint) {
			r.platform.Fault(away)
			if err := r.commit(run, "iocs", within("10")); !errors.Is(err, ErrRestored) {
				r.t.Errorf("a commit after it: %v", err)
			}
		},
		"by a commit whose answer is lost": func(r *rig, run *RunCheckpoint) {
			r.platform.Fault(openctitest.Rule{Operation: "pingConnector", Do: openctitest.Status(502, "<html>")})
			if err := r.commit(run, "iocs", within("10")); !errors.Is(err, ErrRestored) {
				r.t.Errorf("a commit after it: %v", err)
			}
		},
		"by a run whose work the platform does not know": func(r *rig, run *RunCheckpoint) {
			if err := run.Revoke(r.t.Context()); !errors.Is(err, ErrRestored) {
				r.t.Errorf("the run is taken back: %v", err)
			}
		},
		"by an earlier work that the platform does not know": func(r *rig, _ *RunCheckpoint) {
			if err := r.Void(r.t.Context(), "work_1"); !errors.Is(err, ErrRestored) {
				r.t.Errorf("the work is taken back: %v", err)
			}
		},
		"by a registration": func(r *rig, _ *RunCheckpoint) {
			held, err := r.client.Register(r.t.Context())
			if err != nil {
				r.t.Fatal(err)
			}
			if err := r.Registered(r.t.Context(), held); err != nil {
				r.t.Fatal(err)
			}
			r.beatOnce() // finds out
			time.Sleep(10 * time.Second)
			r.watchFor(20 * time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			everyPlatform(t, func(t *testing.T, cfg openctitest.Config) {
				r := newRig(t, cfg)
				r.mustCommit(r.begin(), "iocs", within("3"))
				backup := r.platform.State()
				for i := range 12 {
					r.mustCommit(r.begin(), "iocs", within(string(rune('a'+i))))
				}
				run := r.begin()
				r.mustOpen(run, "work_1")
				emptied := r.index.emptied
				r.platform.SetState(backup)
				notice(r, run)
				if !r.warned(restored) || r.errorsLogged() > 0 || r.backups != 1 {
					t.Fatalf("found %d times: %v", r.backups, r.log.All())
				}
				if err := r.commit(run, "iocs", within("z")); !errors.Is(err, ErrRestored) || !errors.Is(err, pipeline.ErrAbandon) {
					t.Errorf("a commit of the run: %v", err)
				}
				if strings.Contains(r.platform.State(), "work_1") || len(r.Works())+len(r.Doubted()) > 0 {
					t.Errorf("the platform holds %s", r.platform.State())
				}
				next := r.begin()
				if c := next.Cursor("iocs"); c.Pass == nil || c.Pass.After != "" || r.index.emptied != emptied+1 {
					t.Errorf("the next run begins at %+v, the index was emptied %d times", c.Pass, r.index.emptied-emptied)
				}
				r.mustCommit(next, "iocs", within("4"))
				r.watchFor(5 * time.Minute)
				r.expectResets(0)
				if r.backups != 1 || r.errorsLogged() > 0 || r.platform.State() != r.Text() {
					t.Errorf("afterwards: found %d times, the platform holds %s: %v", r.backups, r.platform.State(), r.log.All())
				}
			})
		})
	}
}

func TestStorageThatLagsIsNoBackupForAConnectorThatRuns(t *testing.T) {
	everyPlatform(t, func(t *testing.T, cfg openctitest.Config) {
		r := newRig(t, cfg)
		run := r.begin()
		r.mustCommit(run, "iocs", within("3"))
		older := r.platform.State()
		r.mustCommit(run, "iocs", within("4"))
		newer := r.platform.State()
		for _, lag := range []time.Duration{500 * time.Millisecond, 2500 * time.Millisecond, 4500 * time.Millisecond} {
			r.platform.SetState(older)
			time.AfterFunc(lag, func() { r.platform.SetState(newer) })
			r.watchFor(time.Minute)
		}
		// The platform goes away while that is being found out.
		r.platform.SetState(older)
		r.platform.Fault(openctitest.Rule{Operation: "connector", From: 2, To: 12, Do: openctitest.Status(502, "<html>")})
		stop := r.beat()
		time.Sleep(10 * time.Second)
		r.platform.SetState(newer)
		time.Sleep(time.Minute)
		stop()
		r.mustCommit(run, "iocs", within("5"))
		// A ping that was taken for lost comes after the next one.
		r.platform.Fault(openctitest.Rule{Operation: "pingConnector", Do: openctitest.DropAnswer})
		r.mustCommit(run, "iocs", within("6"))
		late := r.platform.State()
		r.mustCommit(run, "iocs", within("7"))
		r.platform.SetState(late)
		r.watchFor(time.Minute)
		if r.warned(restored) || r.backups > 0 || r.errorsLogged() > 0 || r.platform.State() != r.Text() {
			t.Errorf("the platform holds %s: %v", r.platform.State(), r.log.All())
		}
		// An hour later it is a backup.
		time.Sleep(time.Hour)
		r.platform.SetState(late)
		r.watchFor(time.Minute)
		if r.backups != 1 {
			t.Errorf("a backup of it was not recognized: %v", r.log.All())
		}
	})
}

func TestABackupIsRecognizedWhateverCameAfterIt(t *testing.T) {
	for name, since := range map[string]func(t *testing.T, r *rig, backup openctitest.Snapshot){
		"the same backup was restored before": func(t *testing.T, r *rig, backup openctitest.Snapshot) {
			r.mustCommit(r.begin(), "iocs", within("4"))
			r.platform.Restore(backup)
			r.watchFor(time.Minute)
			r.mustCommit(r.begin(), "iocs", within("5"))
			r.watchFor(time.Hour)
		},
		"a later backup was restored before": func(t *testing.T, r *rig, _ openctitest.Snapshot) {
			r.mustCommit(r.begin(), "iocs", within("4"))
			later := r.platform.Snapshot()
			r.mustCommit(r.begin(), "iocs", within("5"))
			r.platform.Restore(later)
			r.watchFor(time.Minute)
		},
		"the connector was reset": func(t *testing.T, r *rig, _ openctitest.Snapshot) {
			if err := r.platform.Reset(); err != nil {
				t.Fatal(err)
			}
			r.watchFor(time.Minute)
			r.mustCommit(r.begin(), "iocs", within("4"))
		},
		"a work was imported": func(t *testing.T, r *rig, _ openctitest.Snapshot) {
			r.Imported("work_1")
			r.watchFor(time.Minute)
		},
		"a work was deleted": func(t *testing.T, r *rig, _ openctitest.Snapshot) {
			if err := r.Void(t.Context(), "work_1"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		for _, running := range []bool{true, false} {
			t.Run(name+map[bool]string{true: ", running", false: ", stopped"}[running], func(t *testing.T) {
				everyPlatform(t, func(t *testing.T, cfg openctitest.Config) {
					r := newRig(t, cfg)
					run := r.begin()
					r.mustOpen(run, "work_1")
					r.mustCommit(run, "iocs", within("3"))
					backup := r.platform.Snapshot()
					since(t, r, backup)
					before := len(r.log.FilterMessageSnippet(restored).All())
					r.platform.Restore(backup)
					next := r
					if running {
						r.watchFor(time.Minute)
					} else {
						next, before = r.restart(), 0
					}
					if n := len(next.log.FilterMessageSnippet(restored).All()) - before; n != 1 || next.errorsLogged() > 0 {
						t.Fatalf("found %d times: %v", n, next.log.All())
					}
					if c := next.begin().Cursor("iocs"); c.Pass != nil && c.Pass.After != "" || len(next.Works()) > 1 {
						t.Errorf("it begins at %+v", c)
					}
				})
			})
		}
	}
}

// TestAStateThatCountsLessIsNoBackupOnceItIsTakenOver is about states that somebody else has written: the connector before this one,
// or an instance with a folder of its own.
func TestAStateThatCountsLessIsNoBackupOnceItIsTakenOver(t *testing.T) {
	for name, state := range map[string]string{
		"the Python connector": `{"last_run": "2025-04-18T15:24:00+00:00"}`,
		"another instance":     `{"datasets":{"alerts":{"since":"2025-04-17T15:24:00Z"}},"index":"other","folder":"other","commits":3,"version":1}`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, openctitest.Config{})
				run := r.begin()
				for range 5 {
					r.mustCommit(run, "alerts", done())
				}
				r.platform.SetState(state)
				again := r.restart()
				again.beatOnce()
				next := again.begin()
				stop := again.beat()
				defer stop()
				if err := next.Opened(t.Context(), "work_1"); err != nil || again.backups > 0 {
					t.Errorf("it is taken for a backup: %v, %v", err, again.log.All())
				}
			})
		})
	}
}

// TestAStopSoonAfterARestoreDoesNotCoverTheBackup restores OpenCTI while a run is under way, which then ends with the program: its last
// commit is the first ping since.
func TestAStopSoonAfterARestoreDoesNotCoverTheBackup(t *testing.T) {
	for _, latency := range []time.Duration{0, 20 * time.Millisecond, 600 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, openctitest.Config{})
			r.mustCommit(r.begin(), "iocs", within("3"))
			backup := r.platform.Snapshot()
			run := r.begin()
			r.mustCommit(run, "iocs", within("9"))
			r.platform.Restore(backup)
			r.exchange.platform = delayed{r.exchange.platform, at(latency)}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := run.Commit(ctx, map[string]pipeline.Cursor{"iocs": within("12")}); err == nil {
				t.Errorf("%s a call: committed", latency)
			}
			if again := r.restart(); !again.warned(restored) && !r.warned(restored) {
				t.Errorf("%s a call: the backup was covered: %s", latency, r.platform.State())
			}
		})
	}
}

// TestABackupOfTheOwnStateIsRecognizedAfterAnothersWasTakenOver is about two states that could count the same.
func TestABackupOfTheOwnStateIsRecognizedAfterAnothersWasTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		run := r.begin()
		for _, at := range []string{"1", "2", "3"} {
			r.mustCommit(run, "iocs", within(at))
		}
		backup := r.platform.State()
		r.platform.SetState(`{"datasets":{"iocs":{"since":"2025-05-17T15:24:00Z"}},"index":"other","folder":"other","commits":2,"version":1}`)
		again := r.restart()
		again.beatOnce()
		r.platform.SetState(backup)
		again.watchFor(5 * time.Minute)
		if again.backups == 0 {
			t.Errorf("not recognized: %s, %v", r.platform.State(), again.log.All())
		}
	})
}
