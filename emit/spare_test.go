package emit

import (
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// knowsOf says that the order still has something to do with a node.
func (o *order) knowsOf(n *node) bool {
	behind := func(m *node) bool {
		for ; m != nil; m = m.older {
			if m == n {
				return true
			}
		}
		return false
	}
	for _, m := range o.live {
		if behind(m) {
			return true
		}
	}
	for _, list := range o.waiting {
		if slices.ContainsFunc(list, behind) {
			return true
		}
	}
	return slices.ContainsFunc(o.ready, behind) || slices.ContainsFunc(o.outvoted, func(v outvoted) bool { return v.node == n })
}

func TestANodeIsUsedAgainOnlyWhenNobodyKnowsOfIt(t *testing.T) {
	used := 0
	mapper := white(t)
	rapid.Check(t, func(t *rapid.T) {
		store, x := newMemoryStore(), memoryIndex{}
		items := drawCopies(t, true)
		for run := range uint32(2) {
			r := newRig(run+1, x, store, func(c *Config) { c.Mapping, c.BatchObjects, c.Platform = mappingOf(mapper), 3, catalogueOf() })
			defer r.Close()
			for _, item := range rapid.Permutation(items).Draw(t, "order") {
				objects, _ := mapper.Transform(t.Context(), item)
				for i := range objects {
					objects[i].Weak = rapid.Bool().Draw(t, "is weak") // of which OpenCTI is asked
					if rapid.IntRange(0, 5).Draw(t, "is filtered") == 0 {
						objects[i].Filtered = rapid.SampledFrom([]pipeline.Filtered{pipeline.Unwanted, pipeline.TooStrict}).Draw(t, "filter")
					}
				}
				if err := r.Put(t.Context(), item, objects, func(pipeline.Outcome) {}); err != nil {
					t.Fatal(err)
				}
				spare := r.Emitter.order.spare
				if spare == nil {
					continue
				}
				used++
				if r.Emitter.order.knowsOf(spare) || spare.outstanding > 0 {
					t.Fatal("a node is under way that is used for the next object")
				}
				if !reflect.DeepEqual(*spare, node{}) {
					t.Fatalf("a node that is used again still has %+v", *spare)
				}
			}
			if err := r.Finish(t.Context(), pipeline.Complete); err != nil {
				t.Fatal(err)
			}
		}
	})
	if used == 0 {
		t.Error("no node was ever used again")
	}
}
