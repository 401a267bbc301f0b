package emit

import (
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// reportsOn are reports that refer to the same objects, so many.
func reportsOn(reports, objects int) []pipeline.Object {
	var all []pipeline.Object
	for i := range reports {
		refs := make([]string, objects)
		for j := range refs {
			refs[j] = strings.Clone(shapeID("malware", j))
		}
		all = append(all, shapeObject("report", i, refs...))
	}
	return all
}

func TestReferencesThatWaitAreBounded(t *testing.T) {
	const reports, objects, limit = 100, 50, 1000
	for name, bring := range map[string]int{"that nothing brings": 0, "that come at last": objects} {
		t.Run(name, func(t *testing.T) {
			s := shape{objects: append(reportsOn(reports, objects), others(bring)...), item: 1}
			most := 0
			q, _ := deliverShapeWatched(t, s, func(c *Config) { c.ParkedRefs = limit }, func(e *Emitter) {
				waits := 0
				for key, n := range e.order.live {
					if n.state == parked && n.key == key {
						waits += n.waits.len()
					}
				}
				if waits != e.order.open {
					t.Fatalf("%d references wait, and %d are counted", waits, e.order.open)
				}
				most = max(most, waits)
			})
			if most < limit/2 || most > limit {
				t.Errorf("%d references waited, where %d may", most, limit)
			}
			if len(q.at) != len(s.objects) || bring == 0 && q.twice > 0 {
				t.Errorf("%d of %d arrived, %d twice", len(q.at), len(s.objects), q.twice)
			}
		})
	}
}

func TestListsOfTheSameReferencesHaveTheirTextsInMemoryOnce(t *testing.T) {
	r := newRig(1, memoryIndex{}, newMemoryStore(), nil)
	r.put(t, reportsOn(3, 50)...)
	texts := map[*byte]bool{}
	for _, n := range r.order.parkedNodes() {
		for _, ref := range n.object.Refs {
			texts[unsafe.StringData(ref)] = true
		}
	}
	if len(texts) != 50 {
		t.Errorf("%d texts of 50 references", len(texts))
	}
}

func TestWhatIsPublishedKeepsNoListInMemory(t *testing.T) {
	r := newRig(1, memoryIndex{}, newMemoryStore(), func(c *Config) { c.BatchObjects = 1 })
	r.queue.hold = true
	report := reportsOn(1, 50)[0]
	r.put(t, append(others(50), report)...)
	n := r.order.live[index.KeyOf(report.ID)]
	if n == nil || n.batch == 0 || n.object.Refs != nil || n.refs != nil {
		t.Fatalf("of what is published there is %+v", n)
	}
	r.finish(t, pipeline.Complete)
	if rec := r.index[n.key]; rec.Refs != 50 {
		t.Errorf("the index knows of %d references", rec.Refs)
	}
}

func TestAnIDDoesNotKeepTheListInMemoryThatItWasReadWith(t *testing.T) {
	r := newRig(1, memoryIndex{}, newMemoryStore(), nil)
	o := reportsOn(1, 50)[0]
	all := o.ID + "report" + "profiles" + strings.Join(o.Refs, "")
	read := index.Waiter{Object: o, Missing: o.Refs, Dataset: all[len(o.ID)+6:][:8], Kind: index.HeldBack}
	read.Object.ID, read.Object.Type, read.Object.Modified = all[:len(o.ID)], all[len(o.ID):][:6], time.Unix(1, 0)
	r.shelf.place(read, nil)
	n := r.order.live[index.KeyOf(o.ID)]
	for what, text := range map[string]string{"id": n.object.ID, "type": n.object.Type, "dataset": n.dataset} {
		at := uintptr(unsafe.Pointer(unsafe.StringData(text))) - uintptr(unsafe.Pointer(unsafe.StringData(all)))
		if at < uintptr(len(all)) {
			t.Errorf("its %s is a piece of all that was read with it", what)
		}
	}
	if n.dataset != "profiles" || n.object.ID != o.ID {
		t.Errorf("it is %q of %q", n.object.ID, n.dataset)
	}
}
