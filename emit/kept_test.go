package emit

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// The page of an item that is kept can be committed: what a copy states that a newer version has outvoted comes all the same, if the
// process dies before that was confirmed.
func TestWhatAKeptCopyStatesSurvivesAKill(t *testing.T) {
	for name, kill := range map[string]bool{"it still waits": false, "it was outvoted": true} {
		t.Run(name, func(t *testing.T) {
			x, store := memoryIndex{}, newMemoryStore()
			r := start(t, 1, x, store, func(c *Config) { c.BatchObjects = 1 })
			saysOne := func(m message) bool { return strings.Contains(fmt.Sprint(m.object["labels"]), "one") }
			r.queue.confirm = func() bool { return !saysOne(r.queue.messages[len(r.queue.messages)-1]) }
			first := r.put(t, versionSaying(t, 0, "one", true)...) // waits for authorTwo
			if err := r.shelf.saveParked(t.Context(), time.Now(), true); err != nil {
				t.Fatal(err)
			}
			if len(*first) == 0 || (*first)[len(*first)-1] != pipeline.Kept {
				t.Fatalf("the first item is %v", *first)
			}
			if kill {
				second := r.put(t, versionSaying(t, 1, "two", false)...)
				if err := r.Tick(t.Context()); err != nil {
					t.Fatal(err)
				}
				if !isDelivered(second) {
					t.Fatalf("second item %v", *second)
				}
			}
			// It is killed here, and the pages of both items were committed.
			again := start(t, 2, x, store, nil)
			if err := again.Recover(t.Context()); err != nil {
				t.Fatal(err)
			}
			var carried []pipeline.Outcome
			if err := again.Carry(t.Context(), "profiles", func(o pipeline.Outcome) { carried = append(carried, o) }); err != nil {
				t.Fatal(err)
			}
			again.serve(t, authorTwo)
			again.finish(t, pipeline.Complete)
			for _, m := range again.queue.messages {
				if saysOne(m) {
					return
				}
			}
			t.Errorf("the label of the kept item never came; carried %v, sent %v", carried, again.ids())
		})
	}
}

// A copy that is parked, on the shelf and Kept must stay there when what another copy of its version went without is noted.
func TestANoteOfACopyDoesNotTakeThePlaceOfAKeptOne(t *testing.T) {
	const red = `"object_marking_refs":["marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed"]`
	x, store := memoryIndex{}, newMemoryStore()
	r := start(t, 1, x, store, func(c *Config) { c.BatchObjects = 1 })
	r.queue.hold = true
	take := func(text string) *[]pipeline.Outcome {
		objects, err := white(t).Transform(t.Context(), pipeline.Item{Dataset: "profiles", Data: []byte(text)})
		if err != nil {
			t.Fatal(err)
		}
		return r.put(t, objects...)
	}
	take(copySaying("first", byTwo))
	if _, err := r.endWaiting(t.Context(), r.order.parkedNodes()); err != nil { // as relieve does
		t.Fatal(err)
	}
	if err := r.send(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	second := take(copySaying("strict", red, `"created_by_ref":"identity--00000000-0000-4000-8000-000000000003"`))
	if err := r.shelf.saveParked(t.Context(), time.Now(), true); err != nil {
		t.Fatal(err)
	}
	const id = "malware--00000000-0000-4000-8000-000000000001"
	before := string(store.byID[id].Object.JSON)
	if err := r.delivery.flush(t.Context()); err != nil { // confirms the first
		t.Fatal(err)
	}
	if err := r.shelf.tidy(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	after := string(store.byID[id].Object.JSON)
	if strings.Contains(before, "strict") && !strings.Contains(after, "strict") {
		t.Errorf("the item is %v, and the shelf holds %s in place of %s", *second, after, before)
	}
	again := start(t, 2, x, store, nil)
	if err := again.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := again.Carry(t.Context(), "profiles", func(o pipeline.Outcome) {}); err != nil {
		t.Fatal(err)
	}
	again.finish(t, pipeline.Complete)
	if !slices.ContainsFunc(again.queue.messages, func(m message) bool { return m.object["description"] == "strict" }) {
		t.Errorf("the next run sends %v", again.queue.messages)
	}
}

// Of three copies of a version the first is sent, the second waits on the shelf, and the third takes its place before the first is
// confirmed. What the second states is on the shelf alone.
func TestADeliveredCopyDoesNotTakeAKeptOneOffTheShelf(t *testing.T) {
	const red = `"object_marking_refs":["marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed"]`
	const byThree = `"created_by_ref":"identity--00000000-0000-4000-8000-000000000003"`
	store := newMemoryStore()
	r := start(t, 1, memoryIndex{}, store, func(c *Config) { c.BatchObjects = 1 })
	r.queue.hold = true
	take := func(text string) {
		objects, err := white(t).Transform(t.Context(), pipeline.Item{Dataset: "profiles", Data: []byte(text)})
		must(t, err)
		r.put(t, objects...)
	}
	take(copySaying("first"))
	take(copySaying("kept", red, byThree))
	must(t, r.shelf.saveParked(t.Context(), time.Now(), true))
	const id = "malware--00000000-0000-4000-8000-000000000001"
	live := func() *node { return r.order.live[index.KeyOf(id)] }
	for n := 0; live().claims.taken().shelved == 0; n++ { // the text decides which of two copies counts
		if n == 100 {
			t.Fatal("none takes the place of the kept one")
		}
		take(copySaying(fmt.Sprint("greater ", n), red, byThree))
	}
	must(t, r.delivery.flush(t.Context()))
	must(t, r.shelf.tidy(t.Context(), true))
	if !store.Has(id) {
		t.Error("the shelf has nothing of it any more")
	}
}
