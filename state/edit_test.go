package state

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

var (
	stamped  = time.Date(2025, 4, 1, 0, 0, 0, 0, time.UTC)
	datasets = []string{"alerts", "iocs"}
)

// edited takes out of a text what every edit changes, and checks that.
func edited(t *testing.T, before, after string) string {
	t.Helper()
	d, err := parse(after)
	if err != nil {
		t.Fatalf("%v in %s", err, after)
	}
	was, _ := parse(before)
	if d.commits <= was.commits || !d.reset.Equal(stamped) || d.edited.IsZero() {
		t.Errorf("commits %d after %d, reset %s, edited %s", d.commits, was.commits, d.reset, d.edited)
	}
	d.commits, d.reset, d.edited = 0, time.Time{}, time.Time{}
	return d.text()
}

func TestSetSinceMovesOneDatasetAndWhatLeadsBackToIt(t *testing.T) {
	for name, tt := range map[string]struct{ before, since, after string }{
		"earlier": {
			`{"last_run":"2025-04-17T15:24:00+00:00","datasets":{"alerts":{"since":"2025-04-17T15:24:00Z"},"iocs":{"since":"2025-04-18T00:00:00Z"}},"index":"i","folder":"f","beginning":"2025-04-10T00:00:00Z","commits":7,"version":1}`,
			"2025-04-12",
			`{"last_run":"2025-04-12T00:00:00+00:00","datasets":{"alerts":{"since":"2025-04-12T00:00:00Z"},"iocs":{"since":"2025-04-18T00:00:00Z"}},"index":"i","folder":"f","beginning":"2025-04-10T00:00:00Z","version":1}`,
		},
		"before everything": {
			`{"datasets":{"alerts":{"since":"2025-04-17T15:24:00Z"}},"import_from":"2025-04-10T00:00:00Z","index":"i","folder":"f","beginning":"2025-04-10T00:00:00Z","commits":7,"version":1}`,
			"2025-03-01",
			`{"datasets":{"alerts":{"since":"2025-03-01T00:00:00Z"}},"import_from":"2025-04-10T00:00:00Z","index":"i","folder":"f","beginning":"2025-03-01T00:00:00Z","version":1}`,
		},
		"later": {
			`{"last_run":"2025-04-17T15:24:00+00:00","datasets":{"alerts":{"since":"2025-04-17T15:24:00Z"}},"index":"i","folder":"f","beginning":"2025-04-10T00:00:00Z","commits":7,"version":1}`,
			"2025-05-01",
			`{"last_run":"2025-04-17T15:24:00+00:00","datasets":{"alerts":{"since":"2025-05-01T00:00:00Z"}},"index":"i","folder":"f","beginning":"2025-04-10T00:00:00Z","version":1}`,
		},
		"a pass begins again and what failed stays owed": {
			`{"datasets":{"alerts":{"since":"2025-04-10T00:00:00Z","pass":{"started":"2025-04-17T15:24:00Z","after":"12","kept_from":"9"},"failed":["3"],"gone":["4"]}},"index":"i","folder":"f","commits":7,"version":1}`,
			"2025-04-10",
			`{"datasets":{"alerts":{"since":"2025-04-10T00:00:00Z","failed":["3"],"gone":["4"]}},"index":"i","folder":"f","version":1}`,
		},
		"works lead no further ahead, and those to the beginning stay": {
			`{"datasets":{"alerts":{"since":"2025-04-17T15:24:00Z"}},"index":"i","folder":"f","beginning":"2025-04-10T00:00:00Z","commits":7,"works":[` +
				`{"id":"a","run":1,"opened":"2025-04-11T00:00:00Z","open":false,"from":{}},` +
				`{"id":"b","run":2,"opened":"2025-04-12T00:00:00Z","open":true,"from":{"last_run":"2025-04-16T00:00:00Z","datasets":{"alerts":{"since":"2025-04-16T00:00:00Z","pass":{"started":"2025-04-17T00:00:00Z"},"failed":["3"]}}}},` +
				`{"id":"c","run":3,"opened":"2025-04-13T00:00:00Z","open":true,"from":{"datasets":{"alerts":{"since":"2025-04-11T00:00:00Z"}}}},` +
				`{"id":"d","run":4,"opened":"2025-04-14T00:00:00Z","open":true,"from":{"datasets":{"iocs":{"since":"2025-04-11T00:00:00Z"}},"import_from":"2025-04-14T00:00:00Z"}}],"doubted":[9],"version":1}`,
			"2025-04-12",
			`{"datasets":{"alerts":{"since":"2025-04-12T00:00:00Z"}},"index":"i","folder":"f","beginning":"2025-04-10T00:00:00Z","works":[` +
				`{"id":"a","run":1,"opened":"2025-04-11T00:00:00Z","open":false,"from":{}},` +
				`{"id":"b","run":2,"opened":"2025-04-12T00:00:00Z","open":true,"from":{"last_run":"2025-04-12T00:00:00Z","datasets":{"alerts":{"since":"2025-04-12T00:00:00Z","failed":["3"]}}}},` +
				`{"id":"c","run":3,"opened":"2025-04-13T00:00:00Z","open":true,"from":{"datasets":{"alerts":{"since":"2025-04-11T00:00:00Z"}}}},` +
				`{"id":"d","run":4,"opened":"2025-04-14T00:00:00Z","open":true,"from":{"datasets":{"alerts":{"since":"2025-04-12T00:00:00Z"},"iocs":{"since":"2025-04-11T00:00:00Z"}},"import_from":"2025-04-14T00:00:00Z"}}],"doubted":[9],"version":1}`,
		},
		"the connector's before this one": {
			`{"last_run":"2025-04-17T15:24:00+00:00"}`, "2025-05-01",
			`{"last_run":"2025-04-17T15:24:00+00:00","datasets":{"alerts":{"since":"2025-05-01T00:00:00Z"},"iocs":{"since":"2025-04-17T15:24:00Z"}},"version":1}`,
		},
		"a state without a run": {
			`{"folder":"f","commits":1,"version":1}`, "2025-04-12", `{"datasets":{"alerts":{"since":"2025-04-12T00:00:00Z"}},"folder":"f","version":1}`,
		},
		"no state": {"", "2025-04-12", `{"datasets":{"alerts":{"since":"2025-04-12T00:00:00Z"}},"version":1}`},
		"a state that a reset has overtaken": {
			`{"datasets":{"iocs":{"since":"2025-04-17T15:24:00Z"}},"index":"i","folder":"f","commits":7,"reset":"2025-03-01T00:00:00Z","version":1}`,
			"2025-04-12", `{"datasets":{"alerts":{"since":"2025-04-12T00:00:00Z"}},"folder":"f","version":1}`,
		},
		"members of others": {
			`{"datasets":{"alerts":{"since":"2025-04-17T15:24:00Z"}},"index":"i","folder":"f","commits":7,"version":1,"note":{"a":1}}`,
			"2025-04-12", `{"datasets":{"alerts":{"since":"2025-04-12T00:00:00Z"}},"index":"i","folder":"f","version":1,"note":{"a":1}}`,
		},
	} {
		since, _ := pipeline.ParseTime(tt.since)
		change, err := SetSince(Held{tt.before, stamped}, "alerts", since, datasets)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(tt.after, edited(t, tt.before, change.Text)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestAnEditThatChangesNothingStoresNothing(t *testing.T) {
	const text = `{"datasets":{"alerts":{"since":"2025-04-17T15:24:00Z","failed":["3"]}},"folder":"f","index":"i","commits":7,"version":1}`
	change, err := SetSince(Held{text, stamped}, "alerts", passStart, datasets)
	if err != nil || change.Text != "" {
		t.Errorf("%q, %v", change.Text, err)
	}
	if change, err = Import(Held{text, stamped}, text, datasets); err != nil || change.Text != "" {
		t.Errorf("%q, %v", change.Text, err)
	}
}

func TestAStateThatCannotBeReadIsNotMovedAndCanBeReplaced(t *testing.T) {
	const file = `{"datasets":{"alerts":{"since":"2025-04-12T00:00:00Z"}},"folder":"f","index":"i","commits":3,"version":1}`
	for held, want := range map[string]string{
		`not JSON`: `{"datasets":{"alerts":{"since":"2025-04-12T00:00:00Z"}},"index":"i","folder":"f","version":1}`,
		`{"datasets":7,"folder":"f","index":"k","commits":8}`:                                                                    `{"datasets":{"alerts":{"since":"2025-04-12T00:00:00Z"}},"index":"k","folder":"f","version":1}`,
		`{"datasets":{"alerts":{}},"folder":"f","index":"i","commits":8,"works":[{"id":"a","from":{"datasets":{"alerts":{}}}}]}`: `{"datasets":{"alerts":{"since":"2025-04-12T00:00:00Z"}},"index":"i","folder":"f","version":1}`,
	} {
		if _, err := SetSince(Held{State: held}, "alerts", passStart, datasets); !errors.Is(err, ErrUnreadable) {
			t.Errorf("%s was moved: %v", held, err)
		}
		change, err := Import(Held{held, stamped}, file, datasets)
		if err != nil {
			t.Errorf("%s: %v", held, err)
		} else if got := edited(t, held, change.Text); got != want {
			t.Errorf("%s became %s", held, got)
		}
	}
	if _, err := SetSince(Held{State: `{"version":9}`}, "alerts", passStart, datasets); !errors.Is(err, ErrNewer) {
		t.Errorf("a newer release's state was moved: %v", err)
	}
	if _, err := Import(Held{State: `{"version":9}`}, file, datasets); !errors.Is(err, ErrNewer) {
		t.Errorf("a newer release's state was replaced: %v", err)
	}
}

func TestAnExportThatIsNoneIsRefusedInItsOwnWords(t *testing.T) {
	for file, is := range map[string]error{
		"": ErrUnreadable, "null": ErrUnreadable, "<html>": ErrUnreadable, `{"colour":"red"}`: ErrUnreadable,
		`{"datasets":{"alerts":{}}}`: ErrUnreadable, `{"version":2,"commits":1}`: ErrNewer,
	} {
		_, err := Import(Held{}, file, datasets)
		if !errors.Is(err, is) || strings.Contains(err.Error(), "in OpenCTI") {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestAnImportGoesBackNoFurtherThanItMustAndNoLess(t *testing.T) {
	const held = `{"datasets":{"alerts":{"since":"2025-04-20T00:00:00Z"},"iocs":{"since":"2025-04-20T00:00:00Z"}},"index":"i","folder":"f","beginning":"2025-04-10T00:00:00Z","commits":9,"works":[` +
		`{"id":"b","run":2,"opened":"2025-04-19T00:00:00Z","open":true,"from":{"datasets":{"alerts":{"since":"2025-04-19T00:00:00Z"},"iocs":{"since":"2025-04-19T00:00:00Z"}}}}],"doubted":[1],"version":1}`
	const works = `"works":[{"id":"a","run":1,"opened":"2025-04-16T00:00:00Z","open":false,"from":{"datasets":{"alerts":{"since":"2025-04-16T00:00:00Z"}},"import_from":"2025-04-10T00:00:00Z"}}],"doubted":[7],`
	file := func(index, more string) string {
		return `{"datasets":{"alerts":{"since":"2025-04-17T00:00:00Z","pass":{"started":"2025-04-18T00:00:00Z","after":"5"}}},"import_from":"2025-04-10T00:00:00Z","index":"` + index + `","folder":"f","beginning":"2025-04-10T00:00:00Z","commits":4,` + more + `"version":1}`
	}
	const clamped = `{"id":"b","run":2,"opened":"2025-04-19T00:00:00Z","open":true,"from":{"datasets":{"alerts":{"since":"2025-04-17T00:00:00Z"}}}}`
	for name, tt := range map[string]struct{ file, want string }{
		"of the same index": {file("i", works), `{"datasets":{"alerts":{"since":"2025-04-17T00:00:00Z","pass":{"started":"2025-04-18T00:00:00Z","after":"5"}}},"import_from":"2025-04-10T00:00:00Z","index":"i","folder":"f","beginning":"2025-04-10T00:00:00Z",` +
			`"works":[{"id":"a","run":1,"opened":"2025-04-16T00:00:00Z","open":false,"from":{"datasets":{"alerts":{"since":"2025-04-16T00:00:00Z"}},"import_from":"2025-04-10T00:00:00Z"}},` + clamped + `],"doubted":[1,7],"version":1}`},
		"of another index": {file("k", ""), `{"datasets":{"alerts":{"since":"2025-04-17T00:00:00Z","pass":{"started":"2025-04-18T00:00:00Z"}}},"import_from":"2025-04-10T00:00:00Z","index":"i","folder":"f","beginning":"2025-04-10T00:00:00Z","works":[` + clamped + `],"doubted":[1],"version":1}`},
		"of another index, with a work that was not imported": {file("k", works), `{"datasets":{"alerts":{"since":"2025-04-16T00:00:00Z"}},"import_from":"2025-04-10T00:00:00Z","index":"i","folder":"f","beginning":"2025-04-10T00:00:00Z","works":[` +
			strings.Replace(clamped, "04-17", "04-16", 1) + `],"doubted":[1],"version":1}`},
		"of before a reset": {file("i", `"reset":"2025-03-01T00:00:00Z",`), `{"datasets":{"alerts":{"since":"2025-04-17T00:00:00Z","pass":{"started":"2025-04-18T00:00:00Z"}}},"import_from":"2025-04-10T00:00:00Z","index":"i","folder":"f","beginning":"2025-04-10T00:00:00Z","works":[` + clamped + `],"doubted":[1],"version":1}`},
		"of the connector before this one": {`{"last_run":"2025-04-17T00:00:00+00:00"}`, `{"last_run":"2025-04-17T00:00:00+00:00","datasets":{"alerts":{"since":"2025-04-17T00:00:00Z"},"iocs":{"since":"2025-04-17T00:00:00Z"}},"index":"i","folder":"f","beginning":"2025-04-10T00:00:00Z","works":[` +
			`{"id":"b","run":2,"opened":"2025-04-19T00:00:00Z","open":true,"from":{"datasets":{"alerts":{"since":"2025-04-17T00:00:00Z"},"iocs":{"since":"2025-04-17T00:00:00Z"}}}}],"doubted":[1],"version":1}`},
	} {
		change, err := Import(Held{held, stamped}, tt.file, datasets)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(tt.want, edited(t, held, change.Text)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// stopped is a connector that has lived for a while: it has two works that are being imported, a pass under way, and something
// that failed. It returns what was exported before the last run, too.
func stopped(t *testing.T, cfg openctitest.Config) (r *rig, export string) {
	r = newRig(t, cfg)
	first := r.begin()
	r.mustOpen(first, "work_1")
	r.mustCommit(first, "alerts", pipeline.Cursor{Since: passStart, Failed: []string{"17"}})
	r.mustCommit(first, "iocs", done())
	export = r.platform.State()
	second := r.begin()
	r.mustOpen(second, "work_2")
	r.mustCommit(second, "alerts", pipeline.Cursor{Since: passStart, Pass: &pipeline.Pass{Started: passStart.Add(time.Hour), After: "40"}, Failed: []string{"17"}})
	r.mustCommit(second, "iocs", pipeline.Cursor{Since: passStart.Add(time.Hour)})
	time.Sleep(10 * time.Minute)
	return r, export
}

// put stores a change as an operator's command does.
func (r *rig) put(change Change, err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
	echo, err := r.client.StoreState(r.t.Context(), change.Text)
	if err != nil || echo.State != change.Text {
		r.t.Fatalf("stored %s, %v", echo.State, err)
	}
}

func (r *rig) held() Held {
	r.t.Helper()
	held, err := r.client.ConnectorState(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return held
}

// expectAdopted starts the connector again on a state that was edited, and wants it to be taken for its own: the index stays, and
// nothing is said of a reset, a backup or another instance, neither at once nor by the heartbeats that follow.
func (r *rig) expectAdopted(change Change) *rig {
	r.t.Helper()
	emptied := r.index.emptied
	again := r.restart()
	again.begin()
	again.watchFor(5 * time.Minute)
	if r.index.emptied != emptied {
		r.t.Error("the index was emptied")
	}
	for _, line := range again.log.All() {
		r.t.Errorf("it says: %s", line.Message)
	}
	again.expectResets(0)
	if again.backups != 0 || r.index.Counter() < change.After.Commits {
		r.t.Errorf("%d backups, the index has counted %d of %d", again.backups, r.index.Counter(), change.After.Commits)
	}
	if s, err := Describe(r.platform.State()); err != nil || !s.Edited.IsZero() || s.Commits < change.After.Commits {
		r.t.Errorf("the state that was taken over says %+v, %v", s, err)
	}
	return again
}

func TestAConnectorTakesAMovedStateForItsOwn(t *testing.T) {
	for _, by := range []time.Duration{-90 * 24 * time.Hour, -time.Hour, 0, time.Hour, 24 * time.Hour} {
		everyPlatform(t, func(t *testing.T, cfg openctitest.Config) {
			r, _ := stopped(t, cfg)
			since := passStart.Add(by)
			change, err := SetSince(r.held(), "alerts", since, datasets)
			r.put(change, err)
			again := r.expectAdopted(change)
			run := again.begin()
			if c := run.Cursor("alerts"); !c.Since.Equal(since) || c.Pass != nil || fmt.Sprint(c.Failed) != "[17]" {
				t.Errorf("by %s: alerts begin at %+v", by, c)
			}
			if c := run.Cursor("iocs"); !c.Since.Equal(passStart.Add(time.Hour)) {
				t.Errorf("by %s: iocs begin at %+v", by, c)
			}
			for _, work := range []string{"work_2", "work_1"} {
				if err := again.Void(t.Context(), work); err != nil {
					t.Fatal(err)
				}
				if c := again.begin().Cursor("alerts"); c.Since.After(since) || c.Pass != nil {
					t.Errorf("by %s: with %s lost, alerts begin at %+v", by, work, c)
				}
			}
		})
	}
}

func TestAConnectorTakesAnImportedStateForItsOwn(t *testing.T) {
	everyPlatform(t, func(t *testing.T, cfg openctitest.Config) {
		r, export := stopped(t, cfg)
		change, err := Import(r.held(), export, datasets)
		if change.Foreign {
			t.Error("its own export is of another index")
		}
		r.put(change, err)
		again := r.expectAdopted(change)
		run := again.begin()
		if c := run.Cursor("iocs"); !c.Since.Equal(passStart) {
			t.Errorf("iocs begin at %+v", c)
		}
		if got := fmt.Sprint(again.workIDs()); got != "[work_1 work_2]" {
			t.Errorf("works %s", got)
		}
		if err := again.Void(t.Context(), "work_2"); err != nil {
			t.Fatal(err)
		}
		if c := again.begin().Cursor("iocs"); c.Since.After(passStart) {
			t.Errorf("with its work lost, iocs begin at %+v", c)
		}
	})
}

func TestAnExportOfBeforeAResetBringsBackWhatTheQueueHeld(t *testing.T) {
	everyPlatform(t, func(t *testing.T, cfg openctitest.Config) {
		r, export := stopped(t, cfg)
		if err := r.platform.Reset(); err != nil {
			t.Fatal(err)
		}
		change, err := Import(r.held(), export, datasets)
		if err != nil {
			t.Fatal(err)
		}
		// The first ping is told of the reset.
		if _, err := r.client.StoreState(t.Context(), change.Text); err != nil {
			t.Fatal(err)
		}
		r.put(change, nil)
		emptied := r.index.emptied
		again := r.restart()
		run := again.begin()
		again.watchFor(5 * time.Minute)
		if r.index.emptied != emptied+1 {
			t.Error("the index of before the reset is believed")
		}
		// The work of the first run was not imported: it began with the import.
		if c := run.Cursor("alerts"); !c.Since.Before(passStart) {
			t.Errorf("alerts begin at %+v", c)
		}
		again.expectResets(0)
		if again.errorsLogged() != 0 {
			t.Errorf("it says %v", again.log.All())
		}
	})
}

func TestARunningConnectorPutsItsOwnStateBackWithoutAnAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := stopped(t, openctitest.Config{})
		stop := r.beat()
		time.Sleep(10 * time.Minute)
		own := r.platform.State()
		r.put(SetSince(r.held(), "alerts", importStart, datasets))
		time.Sleep(10 * time.Minute)
		stop()
		if r.platform.State() != own || r.errorsLogged() != 0 || r.backups+r.resetsSeen() != 0 {
			t.Errorf("it holds %s and says %v", r.platform.State(), r.log.All())
		}
	})
}
