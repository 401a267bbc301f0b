package transform

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// wide is a container of so many references, with a description of so many bytes.
func wide(typ string, refs, describes int) string {
	ids := make([]string, refs)
	for i := range ids {
		ids[i] = fmt.Sprintf(`"malware--%08d-0000-4000-8000-000000000000"`, i)
	}
	return fmt.Sprintf(`{"type":%[1]q,"id":"%[1]s--1","spec_version":"2.1","created":"2025-01-01T00:00:00Z","modified":"2025-01-02T00:00:00Z","name":"n",`+
		`"published":"2025-01-03T00:00:00Z","object_refs":[%s],"description":%q,"labels":["x"]}`, typ, strings.Join(ids, ","), strings.Repeat("d", describes))
}

func TestThePartsOfAContainerAreTheWholeOnceTheyAreMerged(t *testing.T) {
	tr := mustNew(t, Config{TLP: "amber"})
	rapid.Check(t, func(t *rapid.T) {
		typ := rapid.SampledFrom([]string{"report", "grouping", "note", "opinion", "observed-data", "case-incident", "x-opencti-task"}).Draw(t, "type")
		refs, describes := rapid.IntRange(1, 200).Draw(t, "references"), rapid.IntRange(0, 300).Draw(t, "description")
		objects, err := tr.Transform(t.Context(), item("["+wide(typ, refs, describes)+"]"))
		if err != nil {
			t.Fatal(err)
		}
		o := objects[len(objects)-1]
		most := rapid.IntRange(500, max(600, len(o.JSON)+100)).Draw(t, "most")
		count, text := Split(o, most)
		if count == 0 {
			if most > 1000 {
				t.Fatalf("%d bytes are not divided in parts of %d", len(o.JSON), most)
			}
			return
		}
		if len(o.JSON) > most && count < 2 || len(o.JSON) <= most && count != 1 {
			t.Errorf("%d bytes make %d parts of %d", len(o.JSON), count, most)
		}
		var whole, merged map[string]any
		if err := json.Unmarshal(o.JSON, &whole); err != nil {
			t.Fatal(err)
		}
		for i := range count {
			part := text(i)
			if len(part) > most {
				t.Errorf("part %d has %d bytes, want %d at most", i, len(part), most)
			}
			var members map[string]any
			if err := json.Unmarshal(part, &members); err != nil {
				t.Fatalf("%s: %v", part, err)
			}
			listed := members["object_refs"].([]any)
			if len(listed) == 0 || members["id"] != o.ID || members["type"] != o.Type || members["object_marking_refs"] == nil || members["created_by_ref"] == nil {
				t.Errorf("part %d does not say what it is about: %s", i, part)
			}
			if i == 0 {
				merged = members
				continue
			}
			merged["object_refs"] = append(merged["object_refs"].([]any), listed...)
			for name, value := range members {
				if name != "object_refs" && fmt.Sprint(value) != fmt.Sprint(whole[name]) {
					t.Errorf("part %d changes %s", i, name)
				}
				if name == "description" || name == "labels" {
					t.Errorf("part %d repeats %s", i, name)
				}
			}
		}
		if got, want := fmt.Sprint(merged), fmt.Sprint(whole); got != want {
			t.Errorf("merged\n got %s\nwant %s", got, want)
		}
	})
}

func TestWhatCannotBeDividedHasNoParts(t *testing.T) {
	tr := mustNew(t, Config{TLP: "amber"})
	for name, text := range map[string]string{
		"no container":                          wide("malware", 100, 2000),
		"a description that alone is too large": wide("report", 100, 2000),
		"no references":                         wide("report", 0, 2000),
	} {
		if count, _ := Split(transformOne(t, tr, text), 2000); count != 0 {
			t.Errorf("%s: %d parts", name, count)
		}
	}
	if count, _ := Split(pipeline.Object{ID: "report--1", Type: "report", JSON: []byte("{")}, 10); count != 0 {
		t.Errorf("no JSON: %d parts", count)
	}
}

func TestFourHundredThousandReferencesAreDividedInAFewParts(t *testing.T) {
	o := transformOne(t, mustNew(t, Config{TLP: "amber"}), wide("report", 400_000, 100))
	const most = 11 << 20
	count, text := Split(o, most)
	if count != 2 {
		t.Fatalf("%d parts of %d bytes", count, len(o.JSON))
	}
	found := 0
	for i := range count {
		found += strings.Count(string(text(i)), `"malware--`)
	}
	if found != 400_000 || !slices.Contains(o.Refs, "malware--00399999-0000-4000-8000-000000000000") {
		t.Errorf("%d references", found)
	}
}
