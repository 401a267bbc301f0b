package state

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

const (
	// backfilled is a backfill of which the iocs are read halfway, and current where the schedule is beside it.
	backfilled = `"backfill":{"alerts":{"since":"2024-01-01T00:00:00Z","until":"2025-04-10T00:00:00Z","failed":["7"],"from":"2024-01-01T00:00:00Z","order":3},` +
		`"iocs":{"since":"2024-01-01T00:00:00Z","until":"2025-04-10T00:00:00Z","pass":{"started":"2025-04-18T00:00:00Z","after":"5","kept_from":"4"},"from":"2024-01-01T00:00:00Z","order":3}},`
	current = `{"datasets":{"alerts":{"since":"2025-04-20T00:00:00Z"},"iocs":{"since":"2025-04-20T00:00:00Z"}},`
	owned   = `"index":"i","folder":"f",`
)

func TestSetSinceLeavesABackfillAlone(t *testing.T) {
	for name, tt := range map[string]struct{ since, before, after string }{
		"later": {"2025-04-22",
			current + backfilled + owned + `"beginning":"2024-01-01T00:00:00Z","commits":7,"version":1}`,
			strings.Replace(current, "04-20", "04-22", 1) + backfilled + owned + `"beginning":"2024-01-01T00:00:00Z","version":1}`},
		"into its window": {"2024-06-01",
			current + backfilled + owned + `"beginning":"2024-01-01T00:00:00Z","commits":7,"version":1}`,
			strings.Replace(current, "2025-04-20", "2024-06-01", 1) + backfilled + owned + `"beginning":"2024-01-01T00:00:00Z","version":1}`},
		"before its window": {"2023-01-01",
			current + backfilled + owned + `"beginning":"2024-01-01T00:00:00Z","commits":7,"version":1}`,
			strings.Replace(current, "2025-04-20", "2023-01-01", 1) + backfilled + owned + `"beginning":"2023-01-01T00:00:00Z","version":1}`},
		"before all, after one that is done": {"2023-01-01",
			current + owned + `"beginning":"2024-01-01T00:00:00Z","commits":7,"version":1}`,
			strings.Replace(current, "2025-04-20", "2023-01-01", 1) + owned + `"beginning":"2023-01-01T00:00:00Z","version":1}`},
		"in works, too": {"2025-04-12",
			current + backfilled + owned + `"beginning":"2024-01-01T00:00:00Z","commits":7,"works":[` +
				`{"id":"a","run":1,"opened":"2025-04-19T00:00:00Z","open":true,"from":{"datasets":{"alerts":{"since":"2025-04-19T00:00:00Z"}},` + strings.TrimSuffix(backfilled, ",") + `}}],"version":1}`,
			strings.Replace(current, "04-20", "04-12", 1) + backfilled + owned + `"beginning":"2024-01-01T00:00:00Z","works":[` +
				`{"id":"a","run":1,"opened":"2025-04-19T00:00:00Z","open":true,"from":{"datasets":{"alerts":{"since":"2025-04-12T00:00:00Z"}},` + strings.TrimSuffix(backfilled, ",") + `}}],"version":1}`},
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
		if diff := cmp.Diff(change.Before.Backfill, change.After.Backfill); diff != "" {
			t.Errorf("%s: it tells of another backfill: %s", name, diff)
		}
	}
}

func TestAnImportTakesABackfillAlong(t *testing.T) {
	const (
		full    = `"beginning":"2024-01-01T00:00:00Z",`
		plain   = `"beginning":"2025-04-10T00:00:00Z",`
		done    = `"beginning":"2024-01-01T00:00:00Z",`
		further = `{"id":"b","run":2,"opened":"2025-04-19T00:00:00Z","open":true,"from":{"datasets":{"alerts":{"since":"2025-04-20T00:00:00Z"},"iocs":{"since":"2025-04-20T00:00:00Z"}},"backfill":{` +
			`"alerts":{"since":"2025-04-10T00:00:00Z","until":"2025-04-10T00:00:00Z","from":"2024-01-01T00:00:00Z","order":3},"iocs":{"since":"2024-01-01T00:00:00Z","until":"2025-04-10T00:00:00Z","pass":{"started":"2025-04-18T00:00:00Z","after":"9"},"from":"2024-01-01T00:00:00Z","order":3}}}}`
		clamped = `{"id":"b","run":2,"opened":"2025-04-19T00:00:00Z","open":true,"from":{"datasets":{"alerts":{"since":"2025-04-20T00:00:00Z"},"iocs":{"since":"2025-04-20T00:00:00Z"}},"backfill":{` +
			`"alerts":{"since":"2024-01-01T00:00:00Z","until":"2025-04-10T00:00:00Z","from":"2024-01-01T00:00:00Z","order":3},"iocs":{"since":"2024-01-01T00:00:00Z","until":"2025-04-10T00:00:00Z","from":"2024-01-01T00:00:00Z","order":3}}}}`
		ordered = `"works":[{"id":"a","run":1,"opened":"2025-04-16T00:00:00Z","open":false,"from":{"datasets":{"alerts":{"since":"2025-04-16T00:00:00Z"},"iocs":{"since":"2025-04-16T00:00:00Z"}}}}],`
		tail    = `"version":1}`
	)
	again := strings.Replace(backfilled, `,"after":"5","kept_from":"4"`, "", 1)
	for name, tt := range map[string]struct {
		held, file, want string
		foreign          bool
	}{
		"which nobody has ordered here": {current + owned + plain + `"commits":9,` + tail, current + backfilled + owned + full + `"commits":4,` + tail,
			current + backfilled + owned + full + tail, false},
		"that is done here": {current + owned + done + `"commits":9,` + tail, current + backfilled + owned + full + `"commits":4,` + tail,
			current + backfilled + owned + full + tail, false},
		"that is done there": {current + backfilled + owned + full + `"commits":9,` + tail, current + owned + done + `"commits":4,` + tail,
			current + owned + done + tail, false},
		"none, from before it was ordered": {current + backfilled + owned + full + `"commits":9,` + tail, current + owned + plain + `"commits":4,` + tail,
			current + owned + full + tail, false},
		"and lets works lead no further ahead in it": {current + backfilled + owned + full + `"commits":9,"works":[` + further + `],` + tail, current + backfilled + owned + full + `"commits":4,` + tail,
			current + backfilled + owned + full + `"works":[` + clamped + `],` + tail, false},
		"and leaves the works what they may have to bring again": {current + owned + done + `"commits":9,"works":[` + further + `],` + tail, current + owned + done + `"commits":4,"doubted":[3],` + tail,
			current + owned + done + `"works":[` + further + `],"doubted":[3],` + tail, false},
		"of another index, from its begin": {current + owned + plain + `"commits":9,` + tail, current + backfilled + `"index":"k","folder":"f",` + full + `"commits":4,` + tail,
			current + again + owned + full + tail, true},
		"of another index, with a work of before it was ordered": {current + owned + plain + `"commits":9,` + tail, current + backfilled + `"index":"k","folder":"f",` + full + `"commits":4,` + ordered + tail,
			strings.ReplaceAll(current, "04-20", "04-16") + again + owned + full + tail, true},
		"of before a reset": {current + owned + plain + `"commits":9,` + tail, current + backfilled + owned + full + `"commits":4,"reset":"2025-03-01T00:00:00Z",` + tail,
			current + again + owned + full + tail, true},
	} {
		change, err := Import(Held{tt.held, stamped}, tt.file, datasets)
		if err != nil || change.Foreign != tt.foreign {
			t.Errorf("%s: foreign %t, %v", name, change.Foreign, err)
			continue
		}
		if change.Text == "" {
			t.Errorf("%s: nothing is changed", name)
			continue
		}
		if diff := cmp.Diff(tt.want, edited(t, tt.held, change.Text)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestADescriptionTellsOfABackfill(t *testing.T) {
	s, err := Describe(current + backfilled + owned + `"beginning":"2024-01-01T00:00:00Z","commits":7,"version":1}`)
	if err != nil {
		t.Fatal(err)
	}
	alerts, _ := s.Backfilled("alerts")
	iocs, found := s.Backfilled("iocs")
	if !found || len(s.Backfill) != 2 || iocs.Since.Year() != 2024 || !iocs.Until.Equal(importStart) || iocs.Pass.After != "5" || len(alerts.Failed) != 1 {
		t.Errorf("%+v", s.Backfill)
	}
	if s.Beginning.Year() != 2024 {
		t.Errorf("beginning %s", s.Beginning)
	}
	if s, err = Describe(current + owned + `"beginning":"2025-04-10T00:00:00Z","commits":7,"version":1}`); err != nil || len(s.Backfill) != 0 {
		t.Errorf("without one: %+v, %v", s, err)
	}
	if _, found := s.Backfilled("alerts"); found {
		t.Error("a backfill is found that nobody has ordered")
	}
}

// A connector that starts on an edited state goes on with the backfill where that says, also when a work is lost.
func TestAConnectorGoesOnWithTheBackfillOfAnEditedState(t *testing.T) {
	order := importStart.AddDate(-1, 0, 0)
	window := pipeline.Cursor{Since: order, Until: importStart}
	for name, edit := range map[string]func(held Held, export string) (Change, error){
		"moved": func(held Held, _ string) (Change, error) {
			return SetSince(held, "alerts", importStart.AddDate(-2, 0, 0), datasets)
		},
		"imported": func(held Held, export string) (Change, error) { return Import(held, export, datasets) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, openctitest.Config{})
				first := r.begin()
				r.mustOpen(first, "work_1")
				r.mustCommit(first, "alerts", done())
				r.mustCommit(first, "iocs", done())
				r.Imported("work_1")
				if _, err := r.OrderBackfill(t.Context(), order, time.Time{}, datasets); err != nil {
					t.Fatal(err)
				}
				second := r.begin()
				r.mustOpen(second, "work_2")
				early := window
				early.Pass = &pipeline.Pass{Started: passStart.Add(time.Hour), After: "10"}
				r.mustCommit(second, InBackfill("alerts"), early)
				export := r.platform.State()
				late := window
				late.Pass = &pipeline.Pass{Started: passStart.Add(time.Hour), After: "20"}
				r.mustCommit(second, InBackfill("alerts"), late)
				third := r.begin()
				r.mustOpen(third, "work_3")
				r.mustCommit(third, InBackfill("alerts"), pipeline.Cursor{Since: importStart, Until: importStart})
				time.Sleep(10 * time.Minute)

				change, err := edit(r.held(), export)
				r.put(change, err)
				again := r.expectAdopted(change)
				run := again.begin()
				alerts, iocs := run.Cursor(InBackfill("alerts")), run.Cursor(InBackfill("iocs"))
				if diff := cmp.Diff(window, iocs); diff != "" {
					t.Errorf("iocs: %s", diff)
				}
				if under := again.Backfill(); name == "moved" && len(under.Datasets) != 1 {
					t.Errorf("what is done is under way: %s", under)
				}
				if diff := cmp.Diff(early, alerts); name == "imported" && diff != "" {
					t.Errorf("alerts: %s", diff)
				}
				// The runs of both works have brought some of it.
				for _, lost := range []struct{ work, moved, imported string }{{"work_3", "20", ""}, {"work_2", "", ""}} {
					want := lost.moved
					if name == "imported" {
						want = lost.imported // where its run began lies past the import
					}
					if err := again.Void(t.Context(), lost.work); err != nil {
						t.Fatal(err)
					}
					c := again.begin().Cursor(InBackfill("alerts"))
					position := ""
					if c.Pass != nil {
						position = c.Pass.After
					}
					if !c.Since.Equal(order) || !c.Until.Equal(importStart) || position != want {
						t.Errorf("with %s lost: %+v, after %q", lost.work, c, position)
					}
				}
			})
		})
	}
}
