package emit

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// splitterCase is a bundle and what OpenCTI's own splitter makes of it.
type splitterCase struct {
	Name string
	In   []json.RawMessage
	Out  struct {
		Expectations int
		Bundles      []struct {
			Seq     int64 `json:"x_opencti_seq"`
			Objects []map[string]any
		}
	}
}

// notTheEmitters lists cases whose point is the transformer's (unknown types, repeated external references), or in which
// this connector means to differ.
var notTheEmitters = map[string]string{
	"unsupported type":                         "the transformer leaves such objects out",
	"relationship to an unsupported type":      "the transformer leaves such references out",
	"external_references repeated":             "the transformer takes repeated ones out",
	"same id twice, contents differ":           "the first copy of a version counts, see below",
	"same id twice, the later one without ref": "the first copy of a version counts, see below",
	"relationship twice":                       "the first copy of a version counts, see below",
	"report with refs repeated":                "the transformer takes repeated ones out",
	"object that refers to itself":             "the transformer takes such references out",
	"report that refers to itself":             "the transformer takes such references out",
	"sighting without where_sighted_refs":      "the transformer leaves such a sighting out",
	"missing marking":                          "what would lose its last marking gets the default",
}

func TestOrderAndCleanUpAnswerAsOpenCTIsSplitter(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "shared", "golden", "splitter.json"))
	if err != nil {
		t.Skipf("the recorded answers of OpenCTI's splitter are not here: %v", err)
	}
	var cases []splitterCase
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			if why := notTheEmitters[c.Name]; why != "" {
				t.Logf("not compared: %s", why)
				return
			}
			r := newRig(1, memoryIndex{}, newMemoryStore(), nil)
			for _, text := range c.In {
				r.put(t, object(t, string(text)))
			}
			r.finish(t, pipeline.Complete)
			type sent struct {
				Seq    int64
				Object map[string]any
			}
			var got, want []sent
			for _, m := range r.queue.messages {
				got = append(got, sent{m.sequence, m.object})
			}
			for _, b := range c.Out.Bundles {
				for key, value := range b.Objects[0] {
					if value == nil {
						delete(b.Objects[0], key) // a reference that nothing brings is left out, not sent as null
					}
				}
				want = append(want, sent{b.Seq, b.Objects[0]})
			}
			order := func(a, b sent) int { return cmpSent(a.Seq, b.Seq, a.Object["id"].(string), b.Object["id"].(string)) }
			slices.SortStableFunc(got, order)
			slices.SortStableFunc(want, order)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("sent (-want +got):\n%s", diff)
			}
		})
	}
}

func cmpSent(a, b int64, x, y string) int {
	if a != b {
		return int(a - b)
	}
	if x < y {
		return -1
	}
	if x > y {
		return 1
	}
	return 0
}
