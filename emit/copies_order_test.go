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

// What goes under a marking goes after its definition, also where a filter has left the stricter copy out.
func TestNothingRefersToAMarkingThatGoesAfterIt(t *testing.T) {
	for _, batch := range []int{1, 1000} {
		x, store := memoryIndex{}, newMemoryStore()
		objects, _ := white(t).Transform(t.Context(), pipeline.Item{Data: []byte(unmarked)})
		last := len(objects) - 1
		first := start(t, 1, x, store, nil)
		first.put(t, objects[:last]...) // the author and the default marking are there already
		first.finish(t, pipeline.Complete)
		r := start(t, 2, x, store, func(c *Config) { c.BatchObjects = batch })
		r.put(t, objects[last], strict(t))
		r.finish(t, pipeline.Complete)
		at := slices.Index(r.ids(), tlpRed)
		for i, m := range r.queue.messages {
			if slices.Contains(m.refs(), tlpRed) && i < at {
				t.Errorf("in batches of %d %s goes before the marking that it refers to", batch, m.id)
			}
		}
		if at < 0 {
			t.Errorf("in batches of %d the stricter marking does not go", batch)
		}
	}
}

func TestWhatIsPromisedIsForgottenOnceItIsDelivered(t *testing.T) {
	for name, copies := range map[string][]string{
		"labels":    {copySaying("a", `"labels":["x"]`), copySaying("a", `"labels":["y"]`)},
		"an author": {authorTwo, copySaying("a", isOwn), copySaying("a", byTwo), ownMark},
		"markings":  {copySaying("a"), copySaying("a", isOwn), ownMark},
	} {
		r := start(t, 1, memoryIndex{}, newMemoryStore(), nil)
		r.serve(t, copies...)
		r.finish(t, pipeline.Complete)
		if n := len(r.order.promised); n > 0 {
			t.Errorf("%s: %d promises are left at the end of the run", name, n)
		}
	}
}

// What a text has yielded to is in memory alone: the shelf holds the text as it came.
func TestATextThatHasYieldedIsNotReadAgainFromTheShelf(t *testing.T) {
	x, store := memoryIndex{}, newMemoryStore()
	waits := start(t, 1, x, store, nil)
	waits.serve(t, copySaying("b", isOwn))
	waits.finish(t, pipeline.Interrupted)
	goes := start(t, 2, x, newMemoryStore(), nil) // and is killed before it takes the other copy off the shelf
	goes.serve(t, red)
	goes.finish(t, pipeline.Interrupted)
	r := start(t, 3, x, store, func(c *Config) { c.ParkedBytes = 1 })
	if err := r.Carry(t.Context(), "profiles", func(pipeline.Outcome) {}); err != nil {
		t.Fatal(err)
	}
	r.serve(t, ownMark)
	r.finish(t, pipeline.Complete)
	if !r.isRed("malware--00000000-0000-4000-8000-000000000001") {
		t.Errorf("it goes without the stricter marking that was delivered before, among %q", r.ids())
	}
}
