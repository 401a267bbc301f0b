package endtoend

import (
	"encoding/json"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// What the corpus brings must not depend on how it is cut: relations whose ends come in another window are made good.
func TestRealIntelligenceInThreeWindowsEndsUpAsInOne(t *testing.T) {
	t.Parallel()
	full := corpusData(t)
	var data threatmatchtest.Folder
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: &data}})
	var all []delivery
	bounds := []time.Time{{}, time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2025, 4, 20, 0, 0, 0, 0, time.UTC), time.Now()}
	for i := range len(bounds) - 1 {
		addWindow(t, &data, full, bounds[i], bounds[i+1])
		if i > 0 {
			w.platform.SetState(stateSince(t, w.platform.State(), bounds[i]))
		}
		w.run(exitOK)
		messages := w.take()
		if len(messages) < 500 {
			t.Errorf("the window from %s brings %d messages: it proves nothing", bounds[i].Format(time.DateOnly), len(messages))
		}
		all = append(all, messages...)
	}
	checkOrder(t, all)
	last, _ := byID(all)
	if len(last) != corpusObjects {
		t.Errorf("%d different objects in three windows, want %d", len(last), corpusObjects)
	}
	var kept []delivery
	for _, m := range last {
		kept = append(kept, m)
	}
	checkHeld(t, kept, held(t, full, defaultMapping))
}

// addWindow puts what the corpus holds from one moment to another.
func addWindow(t *testing.T, to, full *threatmatchtest.Folder, from, until time.Time) {
	t.Helper()
	for _, dataset := range []string{fetch.ProfilesDataset, fetch.AlertsDataset} {
		later := slices.Collect(full.IDs(dataset, until))
		for id := range full.IDs(dataset, from) {
			if slices.Contains(later, id) {
				continue
			}
			objects, _ := full.Item(dataset, strconv.FormatInt(id, 10))
			if err := to.Put(dataset, id, until.Add(-time.Minute), objects); err != nil {
				t.Fatal(err)
			}
		}
	}
	indicators, _ := full.Indicators(from, true, 1<<30)
	later, _ := full.Indicators(until, true, 1<<30)
	for _, o := range indicators[:len(indicators)-len(later)] {
		if err := to.PutIndicator(o); err != nil {
			t.Fatal(err)
		}
	}
}

// stateSince is a state in which every dataset goes on at a moment.
func stateSince(t testing.TB, text string, moment time.Time) string {
	t.Helper()
	var state map[string]any
	if err := json.Unmarshal([]byte(text), &state); err != nil {
		t.Fatal(err)
	}
	for _, cursor := range state["datasets"].(map[string]any) {
		cursor.(map[string]any)["since"] = moment.UTC()
	}
	delete(state, "last_run")
	raw, err := json.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
