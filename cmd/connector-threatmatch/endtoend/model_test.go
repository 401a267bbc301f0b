package endtoend

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/transform"
)

// reference is the path of reference material that may stand beside the repository; without it the test is skipped.
func reference(t *testing.T, name ...string) string {
	t.Helper()
	path := filepath.Join(append([]string{"..", "..", "..", "..", "shared"}, name...)...)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("reference material is not here: %v", err)
	}
	return path
}

// defaultMapping is how the program maps unless it is told otherwise.
var defaultMapping = transform.Config{TLP: "amber", ThreatActorAsIntrusionSet: true, Descriptions: transform.Markdown}

// holdings are the objects that a platform ends up with, by id: every text that is right for each. There is more than one
// where copies of one version differ in what the source left out at will, and where a cycle must be cut.
type holdings map[string][]json.RawMessage

// held is what a platform ends up with after everything that data holds was imported: the newest version of each
// object, without the references that nothing brings and without relations that lose an end by that. It does as much
// work as it takes to be plain.
func held(t *testing.T, data threatmatchtest.Data, mapping transform.Config) holdings {
	t.Helper()
	mapper, err := transform.New(mapping)
	if err != nil {
		t.Fatal(err)
	}
	newest := make(map[string][]pipeline.Object)
	add := func(dataset, id string, text []byte) {
		objects, _ := mapper.Transform(pipeline.Item{Dataset: dataset, ID: id, Data: text}) // what is left out is not held
		for _, o := range objects {
			switch had := newest[o.ID]; {
			case len(had) == 0 || had[0].Modified.Before(o.Modified):
				newest[o.ID] = []pipeline.Object{o}
			case had[0].Modified.Equal(o.Modified):
				newest[o.ID] = append(had, o)
			}
		}
	}
	for _, dataset := range []string{fetch.ProfilesDataset, fetch.AlertsDataset, fetch.ReportsDataset} {
		for number := range data.IDs(dataset, time.Time{}) {
			id := strconv.FormatInt(number, 10)
			text, _ := data.Item(dataset, id)
			add(dataset, id, text)
		}
	}
	indicators, _ := data.Indicators(time.Time{}, true, 1<<30)
	for _, text := range indicators {
		add(fetch.IndicatorsDataset, "", text)
	}
	clean(newest)
	circular := cycles(newest)
	texts := make(holdings, len(newest))
	for id, copies := range newest {
		for _, o := range copies {
			texts[id] = append(texts[id], o.JSON)
			if !circular[id] {
				continue
			}
			for _, cut := range o.Refs { // one of a cycle's references must give way
				if o, ok := transform.WithoutRefs(o, func(ref string) bool { return ref == cut }); ok && circular[cut] {
					texts[id] = append(texts[id], o.JSON)
				}
			}
		}
	}
	return texts
}

// cycles are the objects on a cycle of references, and those between two cycles.
func cycles(objects map[string][]pipeline.Object) map[string]bool {
	core := make(map[string]bool, len(objects))
	for id := range objects {
		core[id] = true
	}
	for size := 0; size != len(core); {
		size = len(core)
		referred := make(map[string]bool)
		for id := range core {
			refers := false
			for _, o := range objects[id] {
				for _, ref := range o.Refs {
					if core[ref] && ref != id {
						refers, referred[ref] = true, true
					}
				}
			}
			if !refers {
				delete(core, id)
			}
		}
		for id := range core {
			if !referred[id] {
				delete(core, id)
			}
		}
	}
	return core
}

// clean takes away references to what is not there until there are none.
func clean(objects map[string][]pipeline.Object) {
	absent := func(ref string) bool { return len(objects[ref]) == 0 }
	for changed := true; changed; {
		changed = false
		for id, copies := range objects {
			var kept []pipeline.Object
			for _, o := range copies {
				if !slices.ContainsFunc(o.Refs, absent) {
					kept = append(kept, o)
					continue
				}
				changed = true
				if o, ok := transform.WithoutRefs(o, absent); ok {
					kept = append(kept, o)
				}
			}
			if objects[id] = kept; len(kept) == 0 {
				delete(objects, id)
			}
		}
	}
}

// checkHeld wants the messages to bring exactly what is held, the last message of an object counting.
func checkHeld(t *testing.T, messages []delivery, want holdings) {
	t.Helper()
	got, _ := byID(messages)
	wrong := 0
	complain := func(format string, args ...any) {
		t.Helper()
		if wrong++; wrong <= 5 {
			t.Errorf(format, args...)
		}
	}
	for id, texts := range want {
		m, found := got[id]
		right := slices.ContainsFunc(texts, func(text json.RawMessage) bool { return bytes.Equal(m.Object, text) })
		switch {
		case !found:
			complain("missing: %s", id)
		case !right:
			complain("%s is\n%s\nand should be\n%s", id, m.Object, texts[0])
		}
	}
	for id := range got {
		if _, found := want[id]; !found {
			complain("nobody brings %s", id)
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d objects are wrong, %d were sent", wrong, len(want), len(got))
	}
}

// corpusData is the real intelligence beside the repository.
func corpusData(t *testing.T) *threatmatchtest.Folder {
	t.Helper()
	folder, err := threatmatchtest.Load(reference(t, "data", "corpus"))
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

// connectorState is the state as OpenCTI holds it.
type connectorState struct {
	LastRun  time.Time                  `json:"last_run"`
	Datasets map[string]pipeline.Cursor `json:"datasets"`
}

func parseState(t *testing.T, text string) connectorState {
	t.Helper()
	var s connectorState
	if text == "" {
		return s
	}
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Errorf("the state is %q: %v", text, err)
	}
	return s
}
