package endtoend

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
)

// TestTheStrictestMarkingCountsUnderWhateverName lets copies of one version differ in their name, and come in one item or two, in
// any order: nothing can be added to an object under another name than it has, so the copy with the strictest marking is the
// one that OpenCTI ends with.
func TestTheStrictestMarkingCountsUnderWhateverName(t *testing.T) {
	t.Parallel()
	const red, green = "marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed", "marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da"
	text := func(name, marking string) json.RawMessage {
		return json.RawMessage(fmt.Sprintf(`{"type":"malware","id":%q,"created":"2025-01-01T00:00:00Z","modified":"2025-01-01T00:00:00Z","name":%q,"object_marking_refs":[%q]}`, malwareID(1), name, marking))
	}
	items := func(objects ...json.RawMessage) json.RawMessage {
		list, err := json.Marshal(objects)
		must(t, err)
		return list
	}
	for _, strict := range []string{"Emotet", "EMOTET", "Heodo", "A loader"} { // whatever their digests are
		a, b := text(strict, red), text("Geodo", green)
		for name, served := range map[string]map[string]json.RawMessage{
			"one item": {"1": items(a, b)}, "one item, the other way round": {"1": items(b, a)},
			"two items": {"1": items(a), "2": items(b)}, "two items, the other way round": {"1": items(b), "2": items(a)},
		} {
			t.Run(strict+", "+name, func(t *testing.T) {
				t.Parallel()
				for _, order := range arrivalOrders {
					c := example{Items: map[string]map[string]json.RawMessage{"profiles": served}, Runs: 2}
					runs := c.play(t, order, nil)
					var markings []any
					last := ""
					for _, o := range runs[0].objects {
						if o["id"] == malwareID(1) {
							markings = append(markings, o["object_marking_refs"].([]any)...)
							last = o["name"].(string)
						}
					}
					if !slices.Contains(markings, any(red)) || last != strict || len(runs[1].objects) > 0 {
						t.Errorf("served %s: markings %v under the name %s; again: %s", order.name, markings, last, written(runs[1].objects))
					}
				}
			})
		}
	}
}
