package preview

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/sandbox"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/transform"
)

// TestUnderAFilterAPreviewCountsAndWritesWhatARunSends: no relation to what the filter leaves out is counted or written.
func TestUnderAFilterAPreviewCountsAndWritesWhatARunSends(t *testing.T) {
	const profiles, alerts, indicators = 80, 40, 500
	for _, filter := range []string{"THREATMATCH_TAGS=nosuch", "THREATMATCH_TYPES=indicator", "THREATMATCH_MAX_TLP=green", "THREATMATCH_EXCLUDE_TYPES=malware,indicator"} {
		t.Run(filter, func(t *testing.T) {
			from := sandbox.GeneratedFrom(time.Now())
			run := importOf(t, sandbox.Options{Profiles: profiles, Alerts: alerts, Indicators: indicators}, filter)
			if now := sandbox.GeneratedFrom(time.Now()); !now.Equal(from) { // midnight has passed
				from, run = now, importOf(t, sandbox.Options{Profiles: profiles, Alerts: alerts, Indicators: indicators}, filter)
			}
			s := newSite(t, threatmatchtest.Config{Data: threatmatchtest.Generate(threatmatchtest.Shape{Start: from, Seed: 1, Profiles: profiles, Alerts: alerts, Indicators: indicators})})
			s.set(filter)
			o := defaults()
			o.All, o.Output, o.Sample = true, filepath.Join(t.TempDir(), "new"), 20
			r := s.mustLook(o)
			without := r.Relations.WithoutEnd
			if got := r.Import.Messages - without; got != len(run.objects) {
				t.Errorf("a run sends %d messages, a preview says %d", len(run.objects), got)
			}
			sum, relations := 0, 0
			for id := range run.objects {
				if strings.HasPrefix(id, "relationship--") {
					relations++
				}
			}
			for _, n := range r.Objects {
				sum += n
			}
			if got := r.Relations.Total - without; sum != r.Import.Messages || got != relations || r.Objects["relationship"] != r.Relations.Total || run.held != without {
				t.Errorf("a run sends %d relations and holds %d back, a preview says %+v, and %v", relations, run.held, r.Relations, r.Objects)
			}
			left, byDataset := pipeline.Tally(r.LeftOut), 0
			for _, d := range r.Datasets {
				byDataset += d.LeftOut
			}
			if told := fmt.Sprintf("%d left out: %s)", left.Total(), left); !strings.Contains(strings.Join(strings.Fields(run.account), " "), told) || int64(byDataset) != left.Total() {
				t.Errorf("a preview says %q, by dataset %d, a run\n%s", told, byDataset, run.account)
			}
			written := map[string]bool{}
			for _, text := range readBundles(t, o.Output) {
				written[idOf(t, text)] = true
			}
			for id := range run.objects {
				if !written[id] {
					t.Errorf("%s is not written", id)
				}
			}
			if len(written)-without != len(run.objects) || r.Output.Objects != len(written) {
				t.Errorf("%d are written, a run sends %d, and the preview says %d", len(written), len(run.objects), r.Output.Objects)
			}
			for _, text := range r.Sample {
				if id := idOf(t, text); !written[id] {
					t.Errorf("the sample shows %s, which is not sent", id)
				}
			}
		})
	}
}

// TestARelationIsSentAsSoonAsOneCopyOfEachEndPasses, whether that comes before the relation or after it, and not where it leads to
// a relation that is left out.
func TestARelationIsSentAsSoonAsOneCopyOfEachEndPasses(t *testing.T) {
	id := func(typ string, n int) string { return fmt.Sprintf("%s--%08d-0000-4000-8000-000000000000", typ, n) }
	tool := func(n int, label string) string {
		return fmt.Sprintf(`{"type":"tool","id":%q,"name":"t","modified":"2026-01-02T00:00:00Z","labels":[%q]}`, id("tool", n), label)
	}
	relates := func(n int, source, target string) string {
		return fmt.Sprintf(`{"type":"relationship","id":%q,"relationship_type":"related-to","source_ref":%q,"target_ref":%q}`, id("relationship", n), source, target)
	}
	items := []string{
		tool(1, "x") + "," + tool(2, "apt") + "," + relates(11, id("tool", 1), id("tool", 2)) + "," + relates(12, id("tool", 3), id("tool", 2)),
		relates(14, id("relationship", 13), id("tool", 2)) + "," + relates(13, id("relationship", 12), id("tool", 2)) + "," + relates(15, id("relationship", 11), id("tool", 2)),
		tool(1, "apt") + "," + tool(3, "y"),
	}
	for name, order := range map[string][]int{"as they are": {0, 1, 2}, "backwards": {2, 1, 0}, "relations first": {1, 0, 2}} {
		dir := t.TempDir()
		var profiles strings.Builder
		for i, item := range order {
			fmt.Fprintf(&profiles, `{"id":%d,"date":"2026-01-31T00:00:00Z","objects":[%s]}`+"\n", i+1, items[item])
		}
		must(t, os.WriteFile(filepath.Join(dir, "profiles.ndjson"), []byte(profiles.String()), 0o600))
		run := importOf(t, sandbox.Options{Data: dir}, "THREATMATCH_TAGS=apt")
		data, err := threatmatchtest.Load(dir)
		must(t, err)
		s := newSite(t, threatmatchtest.Config{Data: data})
		s.set("THREATMATCH_TAGS=apt")
		o := defaults()
		o.Output = filepath.Join(t.TempDir(), "new")
		r := s.mustLook(o)
		written := map[string]bool{}
		for _, text := range readBundles(t, o.Output) {
			written[idOf(t, text)] = true
		}
		if r.Import.Messages != len(run.objects) || r.Relations.Total != 2 || r.LeftOut["relation to what a filter leaves out"] != 3 || len(written) != len(run.objects) {
			t.Errorf("%s: a run sends %d, a preview says %d, %+v, %v, and writes %v", name, len(run.objects), r.Import.Messages, r.Relations, r.LeftOut, written)
		}
	}
}

// TestACopyIsNotCountedWhereAnotherOfItsVersionIsMarkedTooStrictly, nor a relation to it; of a later version it is.
func TestACopyIsNotCountedWhereAnotherOfItsVersionIsMarkedTooStrictly(t *testing.T) {
	const red = `,"object_marking_refs":["marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed"]`
	object := func(typ string, n int, members string) string {
		return fmt.Sprintf(`{"type":%q,"id":"%[1]s--%08d-0000-4000-8000-000000000000",%s}`, typ, n, members)
	}
	profile := strings.Join([]string{
		object("tool", 1, `"name":"t","modified":"2026-01-02T00:00:00Z"`), object("tool", 1, `"name":"t","modified":"2026-01-02T00:00:00Z"`+red),
		object("tool", 2, `"name":"u","modified":"2026-01-03T00:00:00Z"`), object("tool", 2, `"name":"u","modified":"2026-01-02T00:00:00Z"`+red),
		object("relationship", 3, `"relationship_type":"related-to","source_ref":"tool--00000001-0000-4000-8000-000000000000","target_ref":"tool--00000002-0000-4000-8000-000000000000"`),
	}, ",")
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "profiles.ndjson"), []byte(`{"id":1,"date":"2026-01-31T00:00:00Z","objects":[`+profile+"]}\n"), 0o600))
	settings := []string{"THREATMATCH_MAX_TLP=green", "THREATMATCH_TLP_LEVEL=green"}
	run := importOf(t, sandbox.Options{Data: dir}, settings...)
	data, err := threatmatchtest.Load(dir)
	must(t, err)
	s := newSite(t, threatmatchtest.Config{Data: data})
	s.set(settings...)
	r := s.mustLook(defaults())
	if r.Import.Messages != len(run.objects) || r.Objects["tool"] != 1 || r.Relations.Total != 0 {
		t.Errorf("a run sends %d messages, a preview says %d: %v", len(run.objects), r.Import.Messages, r.Objects)
	}
	left := pipeline.Tally(r.LeftOut)
	if told := fmt.Sprintf("%d left out: %s)", left.Total(), left); left.Total() != 4 || !strings.Contains(strings.Join(strings.Fields(run.account), " "), told) {
		t.Errorf("a preview says %q, a run\n%s", told, run.account)
	}
}

// TestMoreRelationsThanAreRememberedAreLeftOutByWhatIsKnown, and what is remembered of them stays bounded.
func TestMoreRelationsThanAreRememberedAreLeftOutByWhatIsKnown(t *testing.T) {
	for name, tt := range map[string]struct {
		filtered bool // the end that the relations lead to
		left     int
	}{
		"to what a filter leaves out": {true, mostOpen + 1000},
		"to what has not come":        {false, 0},
	} {
		d := &count{objects: map[string]int{}}
		types := map[string]int{}
		r := newRelationCounter(transform.Fitter{}, newSeen(), types)
		if tt.filtered {
			r.meet([]pipeline.Object{{ID: "tool--1", Filtered: pipeline.Unwanted}})
		}
		o := pipeline.Object{Type: "relationship", JSON: []byte(`{"source_ref":"tool--1","target_ref":"tool--1"}`)}
		for i := range mostOpen + 1000 {
			d.objects[o.Type]++
			d.messages++
			types[o.Type]++
			r.fit(o, true)
			r.keep(o, relation{id: hashOf(fmt.Sprint(i)), in: d, first: true, fresh: true})
			if len(r.open) > mostOpen {
				t.Fatalf("%s: %d are remembered", name, len(r.open))
			}
		}
		r.settle()
		rest := mostOpen + 1000 - tt.left
		if d.toFiltered < tt.left*999/1000 || d.toFiltered > tt.left || d.messages != rest || d.objects[o.Type] != rest || types[o.Type] != rest || r.total != rest {
			t.Errorf("%s: %+v, %v, %d in all", name, d, types, r.total)
		}
		if r.overflow == tt.filtered || r.withoutEnd > rest || !tt.filtered && r.withoutEnd != mostOpen {
			t.Errorf("%s: %v, %d without an end", name, r.overflow, r.withoutEnd)
		}
	}
}

// TestAScoreThatNothingStatesIsSaidToFilterNothing, whatever THREATMATCH_SCORE adds: a run sends it all.
func TestAScoreThatNothingStatesIsSaidToFilterNothing(t *testing.T) {
	indicator := func(n int, members string) string {
		return fmt.Sprintf(`{"type":"indicator","id":"indicator--%08d-0000-4000-8000-000000000000","modified":"2026-01-0%[1]dT00:00:00Z","name":"i",`+
			`"pattern_type":"stix","pattern":"[ipv4-addr:value = '198.51.100.%[1]d']"%s}`+"\n", n, members)
	}
	const none = "None of 2 indicators read states a score: THREATMATCH_MIN_SCORE leaves out nothing."
	for name, tt := range map[string]struct {
		scored   string
		settings []string
		sent     int
		notes    []string
	}{
		"none":              {"", []string{"THREATMATCH_MIN_SCORE=60"}, 2, []string{none}},
		"added":             {"", []string{"THREATMATCH_MIN_SCORE=60", "THREATMATCH_SCORE=10"}, 2, []string{none, "The score that THREATMATCH_SCORE adds is not compared with it."}},
		"stated, and less":  {`,"x_opencti_score":50`, []string{"THREATMATCH_MIN_SCORE=60"}, 1, nil},
		"stated, and more":  {`,"x_opencti_score":"70"`, []string{"THREATMATCH_MIN_SCORE=60", "THREATMATCH_SCORE=10"}, 2, nil},
		"in an extension":   {`,"extensions":{"extension-definition--ea279b3e-5c71-4632-ac08-831c66a786ba":{"score":10}}`, []string{"THREATMATCH_MIN_SCORE=60"}, 1, nil},
		"no filter":         {"", []string{"THREATMATCH_SCORE=10"}, 2, nil},
		"no number is none": {`,"x_opencti_score":"high"`, []string{"THREATMATCH_MIN_SCORE=60"}, 2, []string{none}},
	} {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "indicators.ndjson"), []byte(indicator(1, "")+indicator(2, tt.scored)), 0o600))
		run := importOf(t, sandbox.Options{Data: dir}, tt.settings...)
		data, err := threatmatchtest.Load(dir)
		must(t, err)
		s := newSite(t, threatmatchtest.Config{Data: data})
		s.set(tt.settings...)
		r := s.mustLook(defaults())
		sent := 0
		for id := range run.objects {
			if strings.HasPrefix(id, "indicator--") {
				sent++
			}
		}
		if sent != tt.sent || r.Objects["indicator"] != tt.sent || !slices.Equal(r.Notes, tt.notes) {
			t.Errorf("%s: a run sends %d indicators, a preview says %d and %q", name, sent, r.Objects["indicator"], r.Notes)
		}
		var page strings.Builder
		must(t, Options{}.print(r, &page))
		for _, note := range tt.notes {
			if !strings.Contains(page.String(), "\n"+note+"\n") {
				t.Errorf("%s: the page does not say %q:\n%s", name, note, page.String())
			}
		}
	}
}
