package preview

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/sandbox"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// imported is what a run of the connector made of the same intelligence.
type imported struct {
	objects        map[string]string // their text by id
	account        string
	held, refitted int
}

// importOf runs the connector in the sandbox.
func importOf(t *testing.T, o sandbox.Options, env ...string) imported {
	t.Helper()
	o.Messages, o.PageSize, o.Seed = filepath.Join(t.TempDir(), "messages.ndjson"), 100, 1
	var out, log bytes.Buffer
	env = append(env, "CONNECTOR_LOG_LEVEL=info")
	if err := sandbox.Run(t.Context(), o, sandbox.Host{Version: "test", Environ: env, Stdout: &out, Stderr: &log}); err != nil {
		t.Fatalf("%v\n%s%s", err, out.String(), log.String())
	}
	r := imported{objects: map[string]string{}, account: out.String(), held: figure(t, log.String(), "held_back"), refitted: figure(t, log.String(), "relations_refitted")}
	text, err := os.ReadFile(o.Messages)
	must(t, err)
	for line := range strings.Lines(string(text)) {
		r.objects[idOf(t, []byte(line))] = strings.TrimSpace(line)
	}
	return r
}

// figure finds a number in the line of the log that sums a run up.
func figure(t *testing.T, log, name string) int {
	t.Helper()
	found := regexp.MustCompile(`"` + name + `": ?(\d+)`).FindStringSubmatch(log)
	if found == nil {
		t.Fatalf("the log does not tell %s: %s", name, log)
	}
	n, err := strconv.Atoi(found[1])
	must(t, err)
	return n
}

func idOf(t *testing.T, text []byte) string {
	t.Helper()
	var o struct{ ID string }
	must(t, json.Unmarshal(text, &o))
	return o.ID
}

func typeOf(t *testing.T, text []byte) string {
	t.Helper()
	var o struct{ Type string }
	must(t, json.Unmarshal(text, &o))
	return o.Type
}

// readBundles reads a folder of bundles: the objects in their order. Each file is a bundle that only its owner may read.
func readBundles(t *testing.T, dir string) []json.RawMessage {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var all []json.RawMessage
	for _, e := range entries {
		info, err := e.Info()
		must(t, err)
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must(t, err)
		var bundle struct {
			Type, ID string
			Objects  []json.RawMessage
		}
		must(t, json.Unmarshal(text, &bundle))
		if info.Mode() != 0o600 || bundle.Type != "bundle" || !strings.HasPrefix(bundle.ID, "bundle--") || len(bundle.Objects) == 0 {
			t.Errorf("%s: mode %o, %s, %s", e.Name(), info.Mode(), bundle.Type, bundle.ID)
		}
		if info.Size() > bundleBytes && len(bundle.Objects) > 1 {
			t.Errorf("%s has %d bytes", e.Name(), info.Size())
		}
		all = append(all, bundle.Objects...)
	}
	return all
}

// TestWhatIsWrittenIsWhatARunSends compares a preview with a run over the same intelligence: the objects, the number of messages,
// and what becomes of relations.
func TestWhatIsWrittenIsWhatARunSends(t *testing.T) {
	const profiles, alerts, indicators = 80, 40, 500
	from := sandbox.GeneratedFrom(time.Now())
	run := importOf(t, sandbox.Options{Profiles: profiles, Alerts: alerts, Indicators: indicators})
	if now := sandbox.GeneratedFrom(time.Now()); !now.Equal(from) { // midnight has passed
		from, run = now, importOf(t, sandbox.Options{Profiles: profiles, Alerts: alerts, Indicators: indicators})
	}
	s := newSite(t, threatmatchtest.Config{Data: threatmatchtest.Generate(threatmatchtest.Shape{Start: from, Seed: 1, Profiles: profiles, Alerts: alerts, Indicators: indicators})})
	o := defaults()
	o.All, o.Output = true, filepath.Join(t.TempDir(), "new", "folder")
	r := s.mustLook(o)
	written := map[string]string{}
	for _, text := range readBundles(t, o.Output) {
		written[idOf(t, text)] = string(text)
	}
	if r.Output.Objects != len(written) {
		t.Errorf("%d objects are counted, and there are %d", r.Output.Objects, len(written))
	}
	if held := len(written) - len(run.objects); held != run.held || r.Relations.WithoutEnd != run.held || run.held == 0 {
		t.Errorf("a run holds %d back, a preview says %d; it has written %d more objects", run.held, r.Relations.WithoutEnd, held)
	}
	// What is held back is not sent, and so not counted as refitted by the run.
	if got := r.Relations.Refitted; got < run.refitted || got > run.refitted+run.held || run.refitted == 0 {
		t.Errorf("a run refits %d relations, a preview says %d: %v", run.refitted, r.Relations.Refitted, r.Relations.RefittedTypes)
	}
	if got := r.Import.Messages - r.Relations.WithoutEnd; got != len(run.objects) {
		t.Errorf("a run sends %d messages, a preview says %d", len(run.objects), got)
	}
	differ := 0
	for id, text := range run.objects {
		switch have, has := written[id]; {
		case !has:
			t.Errorf("%s is not written", id)
		case have != text && !strings.HasPrefix(id, "report--"): // which lose references to what nothing brings
			differ++
			t.Logf("%s\n%s", have, text)
		}
	}
	if differ > 0 {
		t.Errorf("%d objects differ", differ)
	}
}

// TestWhatIsLeftOutIsWhatARunLeavesOut compares the reasons over intelligence that has faults of many kinds.
func TestWhatIsLeftOutIsWhatARunLeavesOut(t *testing.T) {
	const malware, tool = "malware--00000000-0000-4000-8000-000000000001", "tool--00000000-0000-4000-8000-000000000001"
	dir := t.TempDir()
	var profiles strings.Builder
	for i, objects := range []string{
		`{"type":"malware","id":"` + malware + `","name":"m","is_family":false}`,
		`{"type":"x-odd","id":"x-odd--1"}`, `{"type":"x-odd","id":"x-odd--2"},{"type":"tool"},7`,
		`{"type":"relationship","id":"relationship--00000000-0000-4000-8000-000000000001","relationship_type":"uses","source_ref":"` + malware + `","target_ref":"` + malware + `"}`,
		`{"type":"relationship","id":"relationship--00000000-0000-4000-8000-000000000002","relationship_type":"uses","source_ref":"` + malware + `"}`,
		`{"id":"tool--00000000-0000-4000-8000-000000000003"},{"error":"gone"}`,
		`{"type":"tool","id":"` + tool + `","name":"` + strings.Repeat("x", 6000) + `"}`,
	} {
		fmt.Fprintf(&profiles, `{"id":%d,"date":"2026-01-31T00:00:00Z","objects":[%s]}`+"\n", i+1, objects)
	}
	must(t, os.WriteFile(filepath.Join(dir, "profiles.ndjson"), []byte(profiles.String()), 0o600))
	indicators := `{"type":"indicator","modified":"2026-01-02T00:00:00Z","id":"indicator"}` + "\n" +
		`{"type":"nonsense","id":"nonsense--1","modified":"2026-01-03T00:00:00Z"}` + "\n"
	must(t, os.WriteFile(filepath.Join(dir, "indicators.ndjson"), []byte(indicators), 0o600))
	const limit = "CONNECTOR_MAX_MESSAGE_BYTES=6000"
	run := importOf(t, sandbox.Options{Data: dir}, limit)

	data, err := threatmatchtest.Load(dir)
	must(t, err)
	s := newSite(t, threatmatchtest.Config{Data: data})
	s.env["CONNECTOR_MAX_MESSAGE_BYTES"] = "6000"
	r := s.mustLook(defaults())
	left := pipeline.Tally(r.LeftOut)
	if want := fmt.Sprintf("%d left out: %s)", left.Total(), left); left.Total() < 8 || !strings.Contains(strings.Join(strings.Fields(run.account), " "), want) {
		t.Errorf("a preview says %q, a run\n%s", want, run.account)
	}
	named := map[string]int{}
	for _, e := range r.Examples {
		named[e.Reason]++
		if e.Item == "" || e.Dataset == "" || e.Text == "" {
			t.Errorf("an example that tells nothing: %+v", e)
		}
	}
	want := map[string]int{}
	for why, n := range left {
		want[string(why)] = int(min(n, mostExamples))
	}
	if diff := cmp.Diff(want, named); diff != "" {
		t.Errorf("examples: %s", diff)
	}
	sum := 0
	for _, d := range r.Datasets {
		sum += d.LeftOut
	}
	if int64(sum) != left.Total() {
		t.Errorf("the datasets sum up to %d, and it is %d", sum, left.Total())
	}
}

// TestAPreviewTellsHowManyEachFilterLeavesOut, as a run with the same filters does.
func TestAPreviewTellsHowManyEachFilterLeavesOut(t *testing.T) {
	dir := t.TempDir()
	object := func(typ string, n int, members string) string {
		return fmt.Sprintf(`{"type":%q,"id":"%[1]s--%08d-0000-4000-8000-000000000000",%s}`, typ, n, members)
	}
	const red = `"object_marking_refs":["marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed"]`
	profile := strings.Join([]string{
		object("malware", 1, `"name":"m","is_family":false,`+red), object("malware", 2, `"name":"n","is_family":false`), object("campaign", 3, `"name":"c"`),
		object("tool", 4, `"name":"t","confidence":10`), object("tool", 5, `"name":"u","labels":["test"]`), object("tool", 6, `"name":"v","labels":["apt"]`),
		object("relationship", 7, `"relationship_type":"uses","source_ref":"malware--00000002-0000-4000-8000-000000000000","target_ref":"tool--00000004-0000-4000-8000-000000000000"`),
	}, ",")
	must(t, os.WriteFile(filepath.Join(dir, "profiles.ndjson"), []byte(`{"id":1,"date":"2026-01-31T00:00:00Z","objects":[`+profile+"]}\n"), 0o600))
	filters := []string{"THREATMATCH_MAX_TLP=amber", "THREATMATCH_MIN_CONFIDENCE=50", "THREATMATCH_EXCLUDE_TYPES=campaign", "THREATMATCH_TAGS=apt"}
	run := importOf(t, sandbox.Options{Data: dir}, filters...)
	data, err := threatmatchtest.Load(dir)
	must(t, err)
	s := newSite(t, threatmatchtest.Config{Data: data})
	s.set(filters...)
	r := s.mustLook(defaults())
	left := pipeline.Tally(r.LeftOut)
	want := map[string]int64{
		"above THREATMATCH_MAX_TLP": 1, "of THREATMATCH_EXCLUDE_TYPES": 1, "below THREATMATCH_MIN_CONFIDENCE": 1, "without THREATMATCH_TAGS": 2,
		"relation to what a filter leaves out": 1,
	}
	got := map[string]int64{}
	for why, n := range left {
		got[string(why)] = n
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if told := fmt.Sprintf("%d left out: %s)", left.Total(), left); !strings.Contains(strings.Join(strings.Fields(run.account), " "), told) {
		t.Errorf("a preview says %q, a run\n%s", told, run.account)
	}
	if r.Objects["tool"] != 1 || r.Objects["malware"] != 0 || r.Objects["campaign"] != 0 || r.Relations.WithoutEnd != 0 {
		t.Errorf("passed %v, relations %+v", r.Objects, r.Relations)
	}
}
