package emit

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// versionSaying is a version of the object of unmarked with labels of its own; by says that it waits for authorTwo.
func versionSaying(t testing.TB, version int, label string, by bool) []pipeline.Object {
	states := []string{fmt.Sprintf(`"labels":[%q]`, label)}
	if by {
		states = append(states, byTwo)
	}
	text := strings.Replace(copySaying("d", states...), "2025-01-01T00:00:00", fmt.Sprintf("2025-01-01T%02d:%02d:%02d", version/3600, version/60%60, version%60), 1)
	objects, err := white(t).Transform(t.Context(), pipeline.Item{Dataset: "profiles", Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// claimsHeld counts the receipts that nodes hold.
func (r *rig) claimsHeld() (held int) {
	for key, n := range r.order.live {
		if n.key == key {
			held += len(n.claims.list)
		}
	}
	return held
}

func TestVersionsOfOneObjectThatWaitsHoldTheirItemsAFewTimesEach(t *testing.T) {
	const versions = 300
	for name, tt := range map[string]struct{ ofItem, most int }{
		"one item":     {versions, versions + 10}, // each version has a part that goes by itself, and holds the item that brought it
		"an item each": {1, 3*versions + 10},      // likewise, and the last one holds all, as does the marking
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, 1, memoryIndex{}, newMemoryStore(), nil)
			var objects []pipeline.Object
			var outcomes []*[]pipeline.Outcome
			for version := range versions {
				for range 2 {
					objects = append(objects, versionSaying(t, version, fmt.Sprint(version), true)...)
				}
				if (version+1)%tt.ofItem == 0 {
					outcomes = append(outcomes, r.put(t, objects...))
					objects = nil
				}
			}
			if held := r.claimsHeld(); held < versions || held > tt.most {
				t.Errorf("items are held %d times for %d versions", held, versions)
			}
			r.serve(t, authorTwo)
			r.finish(t, pipeline.Complete)
			for i, o := range outcomes {
				if !slices.Contains(*o, pipeline.Delivered) {
					t.Fatalf("item %d was settled as %v", i, *o)
				}
			}
		})
	}
}

func TestAnItemIsDeliveredOnceAllThatItsCopySaidIs(t *testing.T) {
	r := start(t, 1, memoryIndex{}, newMemoryStore(), nil)
	r.queue.confirm = func() bool {
		return !strings.Contains(fmt.Sprint(r.queue.messages[len(r.queue.messages)-1].object["labels"]), "one")
	}
	var outcomes []*[]pipeline.Outcome
	for version, label := range []string{"one", "one", "two"} { // the second says it for the first as well
		outcomes = append(outcomes, r.put(t, versionSaying(t, version, label, true)...))
	}
	r.serve(t, authorTwo)
	r.finish(t, pipeline.Complete)
	for i, want := range []bool{false, false, true} {
		if got := slices.Contains(*outcomes[i], pipeline.Delivered); got != want {
			t.Errorf("item %d is delivered: %v, where what the first two said is not confirmed", i, got)
		}
	}
}

// countedIndex counts what is put.
type countedIndex struct {
	memoryIndex
	puts int
}

func (c *countedIndex) Put(k index.Key, r index.Record) {
	c.puts++
	c.memoryIndex.Put(k, r)
}

func TestWhatVersionsUnderWayHaveSaidIsNotedOnce(t *testing.T) {
	const versions = 300
	x := &countedIndex{memoryIndex: memoryIndex{}}
	r := start(t, 1, x.memoryIndex, newMemoryStore(), func(c *Config) { c.Index = x })
	var objects []pipeline.Object
	for version := range versions {
		objects = append(objects, versionSaying(t, version, fmt.Sprint(version), false)...)
	}
	r.put(t, objects...)
	r.finish(t, pipeline.Complete)
	if sent := len(r.queue.messages); sent < versions || x.puts > 3*sent {
		t.Errorf("%d messages, %d notes in the index", sent, x.puts)
	}
	// What each has said need not be said again.
	again := start(t, 2, x.memoryIndex, newMemoryStore(), nil)
	again.put(t, objects...)
	again.finish(t, pipeline.Complete)
	if len(again.queue.messages) > 0 {
		t.Errorf("%d messages in a run over the same", len(again.queue.messages))
	}
}
