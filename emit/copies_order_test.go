package emit

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// A copy of one version of an object, and what copies refer to.
const (
	authorTwo = `{"type":"identity","id":"identity--00000000-0000-4000-8000-000000000002","name":"author two","identity_class":"organization"}`
	ownMark   = `{"type":"marking-definition","id":"marking-definition--00000000-0000-4000-8000-000000000001","definition_type":"statement","definition":{"statement":"ours"}}`
)

// copySaying is a copy of the version of unmarked with a description, and members that it states beside.
func copySaying(description string, states ...string) string {
	return strings.Replace(unmarked, `"name":"m"`, strings.Join(append(states, `"name":"m","description":"`+description+`"`), ","), 1)
}

const (
	byTwo = `"created_by_ref":"identity--00000000-0000-4000-8000-000000000002"`
	isOwn = `"object_marking_refs":["marking-definition--00000000-0000-4000-8000-000000000001"]`
)

// comesTo is what OpenCTI makes of the messages of a run that is served texts.
func comesTo(t *testing.T, texts ...string) string {
	t.Helper()
	r := start(t, 1, memoryIndex{}, newMemoryStore(), func(c *Config) { c.BatchObjects = 1 })
	r.serve(t, texts...)
	r.finish(t, pipeline.Complete)
	text, err := json.MarshalIndent(folded(r.queue.messages), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What a copy refers to may come after it, and what it states then goes after what other copies have stated.
func TestCopiesThatWaitedComeToTheSameAsWhereNoneDid(t *testing.T) {
	for name, sequence := range map[string]func(one, two string) []string{ // of descriptions of which either may have the greater digest
		"a marking waits beside what was delivered": func(one, two string) []string {
			return []string{copySaying(one), copySaying(one, isOwn), copySaying(two), ownMark}
		},
		"an author comes before a marking that another copy waits for": func(one, two string) []string {
			return []string{copySaying(one, byTwo), copySaying(two), copySaying(one, isOwn), authorTwo, ownMark}
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, described := range [][2]string{{"a", "b"}, {"b", "a"}} {
				texts := sequence(described[0], described[1])
				first := slices.Clone(texts)
				slices.SortStableFunc(first, func(a, b string) int { return isCopy(a) - isCopy(b) })
				if got, want := comesTo(t, texts...), comesTo(t, first...); got != want {
					t.Errorf("it came to\n%s\nand not to\n%s", got, want)
				}
			}
		})
	}
}

// isCopy is 1 for a copy, and 0 for what copies refer to.
func isCopy(text string) int { return strings.Count(text, `"malware"`) }
