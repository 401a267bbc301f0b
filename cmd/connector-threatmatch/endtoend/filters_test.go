package endtoend

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// stix writes an object of a type with a number, and a date that all have.
func stix(typ string, n int, members string) string {
	if members != "" {
		members = "," + members
	}
	return fmt.Sprintf(`{"type":%q,"spec_version":"2.1","id":%q,"created":"2025-01-01T00:00:00.000Z","modified":"2025-01-01T00:00:00.000Z"%s}`, typ, stixID(typ, n), members)
}

func stixID(typ string, n int) string {
	return fmt.Sprintf("%s--%08d-0000-4000-8000-000000000000", typ, n)
}

const (
	markedRed = `"object_marking_refs":["marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed"]`
	ofAddress = `"name":"i","pattern_type":"stix","valid_from":"2025-01-01T00:00:00.000Z","valid_until":"2025-06-01T00:00:00.123456Z","pattern":"[ipv4-addr:value = '198.51.100.7']"`
)

func relates(typ string, n int, source, target string) string {
	return stix("relationship", n, fmt.Sprintf(`"relationship_type":%q,"source_ref":%q,"target_ref":%q`, typ, source, target))
}

// filtered plays a case in each order of arrival, of which nothing must depend.
func filtered(t *testing.T, c example) {
	t.Helper()
	relations := platformRelations(t)
	c.Runs = 2
	for _, order := range arrivalOrders {
		if wrong := c.Expect.judge(c.play(t, order, relations)); len(wrong) > 0 {
			t.Errorf("served %s: %s", order.name, strings.Join(wrong, "\n"))
		}
	}
}

func raw(objects ...string) json.RawMessage {
	return json.RawMessage("[" + strings.Join(objects, ",") + "]")
}

func TestWhatIsMarkedTooStrictlyStaysAwayWithItsRelations(t *testing.T) {
	t.Parallel()
	set, malware := stixID("intrusion-set", 1), stixID("malware", 2)
	indicator := stixID("indicator", 3)
	filtered(t, example{
		Env: map[string]string{"THREATMATCH_MAX_TLP": "amber"},
		Items: map[string]map[string]json.RawMessage{
			"profiles": {"1": raw(stix("intrusion-set", 1, `"name":"s","object_refs":["`+indicator+`"]`), relates("uses", 4, set, malware))},
			"alerts": {"2": raw(stix("malware", 2, `"name":"m","is_family":false,`+markedRed),
				stix("report", 5, `"name":"r","published":"2025-01-01T00:00:00.000Z","object_refs":["`+set+`","`+malware+`","`+stixID("relationship", 4)+`"]`))},
		},
		Feed: []json.RawMessage{json.RawMessage(stix("indicator", 3, ofAddress+","+markedRed))},
		Expect: expectation{
			Arrives: []arriving{
				{Where: members{"id": set}},
				{Where: members{"type": "report"}, Has: members{"object_refs": []any{set}}},
			},
			Never: []members{{"type": "malware"}, {"type": "relationship"}, {"type": "indicator"}},
		},
	})
}

func TestAnObjectComesAsSoonAsOneOfItsCopiesBearsATag(t *testing.T) {
	t.Parallel()
	set, indicator := stixID("intrusion-set", 1), stixID("indicator", 3)
	filtered(t, example{
		Env: map[string]string{"THREATMATCH_TAGS": "espionage"},
		Items: map[string]map[string]json.RawMessage{
			"profiles": {"1": raw(stix("intrusion-set", 1, `"name":"s","labels":["Espionage"],"object_refs":["`+indicator+`"]`),
				stix("indicator", 3, ofAddress), stix("malware", 2, `"name":"m","is_family":false`), relates("uses", 4, set, stixID("malware", 2)))},
		},
		Feed: []json.RawMessage{json.RawMessage(stix("indicator", 3, ofAddress+`,"labels":["ESPIONAGE","x"]`))},
		Expect: expectation{
			Arrives: []arriving{
				{Where: members{"id": set}}, {Where: members{"id": indicator}, Has: members{"labels": []any{"ESPIONAGE", "x"}}},
				{Where: members{"relationship_type": "indicates"}},
			},
			Never: []members{{"type": "malware"}, {"relationship_type": "uses"}},
		},
	})
}

func TestObservablesArriveWithTheirRelationAndScore(t *testing.T) {
	t.Parallel()
	seen := "ipv4-addr--12592121-be4c-5a93-a813-5a5af16e50db" // as other tests know
	held := "domain-name--44e7c539-1d97-5c97-b567-f6b693bd515f"
	filtered(t, example{
		Env:  map[string]string{"THREATMATCH_CREATE_OBSERVABLES": "true", "THREATMATCH_SCORE": "35"},
		Held: []string{held},
		Feed: []json.RawMessage{
			json.RawMessage(stix("indicator", 1, ofAddress)), json.RawMessage(stix("indicator", 2, ofAddress+`,"x_opencti_score":80,`+markedRed)),
			json.RawMessage(stix("indicator", 3, strings.Replace(ofAddress, "ipv4-addr:value = '198.51.100.7'", "domain-name:value = 'c2.example.org'", 1))),
		},
		Expect: expectation{
			Arrives: []arriving{
				{Where: members{"id": stixID("indicator", 1)}, Has: members{"x_opencti_score": json.Number("35"), "valid_from": "2025-01-01T00:00:00.000Z", "valid_until": "2025-06-01T00:00:00.123456Z"}},
				{Where: members{"id": stixID("indicator", 2)}, Has: members{"x_opencti_score": json.Number("80")}},
				{Where: members{"id": seen}, Across: map[string][]any{"object_marking_refs": {"marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed"}}},
				{Where: members{"relationship_type": "based-on", "source_ref": stixID("indicator", 1), "target_ref": seen}},
				{Where: members{"relationship_type": "based-on", "source_ref": stixID("indicator", 2), "target_ref": seen}},
				{Where: members{"relationship_type": "based-on", "source_ref": stixID("indicator", 3), "target_ref": held}},
			},
			Never: []members{{"id": held}},
		},
	})
}

// TestACopyThatIsMarkedTooStrictlyNeverLeavesALessMarkedOne: what comes before it may have gone, but not as it was.
func TestACopyThatIsMarkedTooStrictlyNeverLeavesALessMarkedOne(t *testing.T) {
	t.Parallel()
	relations := platformRelations(t)
	c := example{
		Runs: 2, Env: map[string]string{"THREATMATCH_MAX_TLP": "green", "THREATMATCH_TLP_LEVEL": "green"},
		Items: map[string]map[string]json.RawMessage{"profiles": {"1": raw(stix("indicator", 3, ofAddress))}},
		Feed:  []json.RawMessage{json.RawMessage(stix("indicator", 3, ofAddress+","+markedRed))},
	}
	for _, order := range arrivalOrders {
		marks := map[any]bool{}
		for _, run := range c.play(t, order, relations) {
			must(t, run.err)
			for _, o := range run.objects {
				if o["type"] == "indicator" {
					for _, m := range o["object_marking_refs"].([]any) {
						marks[m] = true
					}
				}
			}
		}
		if order.name == "one by one, indicators first" && len(marks) > 0 {
			t.Errorf("served %s: it comes, marked %v", order.name, marks)
		}
		if len(marks) > 0 && !marks["marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed"] {
			t.Errorf("served %s: marked %v", order.name, slices.Collect(maps.Keys(marks)))
		}
	}
}

// TestWhatFiltersLeaveOutIsCounted in the work, the log and a preview, each filter for itself, and named at debug only.
func TestWhatFiltersLeaveOutIsCounted(t *testing.T) {
	t.Parallel()
	data := new(threatmatchtest.Folder)
	day := time.Date(2025, 4, 17, 0, 0, 0, 0, time.UTC)
	text := raw(stix("malware", 1, `"name":"m","is_family":false,`+markedRed), stix("tool", 2, `"name":"t","confidence":10`), stix("campaign", 3, `"name":"c"`),
		stix("intrusion-set", 4, `"name":"s","labels":["test"]`), stix("vulnerability", 5, `"name":"v"`), relates("uses", 6, stixID("malware", 1), stixID("vulnerability", 5)))
	must(t, data.Put("profiles", 1, day, text))
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}})
	p := w.run(exitOK, "CONNECTOR_LOG_LEVEL=warn", "THREATMATCH_MAX_TLP=amber", "THREATMATCH_MIN_CONFIDENCE=50", "THREATMATCH_EXCLUDE_TYPES=campaign", "THREATMATCH_EXCLUDE_TAGS=test")
	messages := w.take()
	const counted = "1 × above THREATMATCH_MAX_TLP, 1 × below THREATMATCH_MIN_CONFIDENCE, 1 × of THREATMATCH_EXCLUDE_TYPES, 1 × relation to what a filter leaves out, 1 × with THREATMATCH_EXCLUDE_TAGS"
	if got, want := w.lastWork().Message, fmt.Sprintf("%d objects sent, 5 left out: %s", len(messages), counted); got != want {
		t.Errorf("the work says %q, want %q", got, want)
	}
	told := 0
	for _, line := range p.lines() {
		if line.Message == "left out: "+counted {
			told++
		} else {
			t.Errorf("%s: %s", line.Level, line.Message)
		}
	}
	if told != 1 {
		t.Errorf("the sum is told %d times", told)
	}
}
