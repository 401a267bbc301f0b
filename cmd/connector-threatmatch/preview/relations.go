package preview

import (
	"encoding/json"
	"slices"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/transform"
	"github.com/opencti-connectors/threatmatch/transform/relations"
)

// relationCounter finds out what becomes of relations: which get another type, and which lead to what nothing brings.
type relationCounter struct {
	fitter transform.Fitter
	ids    *seen // of all objects
	// kinds are those of the ends that have been met, by the hash of their id.
	kinds map[uint64]uint8

	total    int
	refitted map[string]int // by "from → to"
	fitted   int
	// open are the ends of relations that had not come when their relation did.
	open     [][2]uint64
	overflow bool // more were open than are remembered
	// filtered are the ids of what a filter leaves out, nil for none.
	filtered *seen
}

const (
	mostKinds    = 200_000 // some 8 MB; of an end beyond that any kind counts
	mostOpen     = 250_000 // 4 MB
	mostRefitted = 100     // of the names that a feed may make up
	otherTypes   = "others"
)

func newRelationCounter(f transform.Fitter, ids *seen) *relationCounter {
	return &relationCounter{fitter: f, ids: ids, kinds: map[uint64]uint8{}, refitted: map[string]int{}}
}

// meet notes the kinds of an item's objects, which tell how its relations fit, and which of them a filter leaves out.
func (r *relationCounter) meet(objects []pipeline.Object) {
	for _, o := range objects {
		if o.Filtered != pipeline.Wanted {
			if r.filtered == nil {
				r.filtered = newSeen()
			}
			r.filtered.add(hashOf(o.ID))
		}
		if o.Kind != 0 && len(r.kinds) < mostKinds {
			r.kinds[hashOf(o.ID)] = o.Kind
		}
	}
}

// fit returns an object as it would be sent, and counts it where it is a relation that is new.
func (r *relationCounter) fit(o pipeline.Object, fresh bool) pipeline.Object {
	if o.Type != "relationship" {
		return o
	}
	fitted, from, to := r.fitter.Fit(o, func(ref string) uint8 { return r.kinds[hashOf(ref)] })
	if fresh {
		r.count(o, from, to)
	}
	return fitted
}

// count counts a relation that has one type and would get another, "" where it keeps its own.
func (r *relationCounter) count(o pipeline.Object, from, to string) {
	r.total++
	var ends struct {
		Source any `json:"source_ref"`
		Target any `json:"target_ref"`
	}
	if json.Unmarshal(o.JSON, &ends) == nil {
		source, _ := ends.Source.(string)
		target, _ := ends.Target.(string)
		r.keepOpen(hashOf(source), hashOf(target))
	}
	if to == "" {
		return
	}
	r.fitted++
	name := shortened(from) + " → " + to
	if r.refitted[name] == 0 && len(r.refitted) >= mostRefitted {
		name = otherTypes
	}
	r.refitted[name]++
}

// keepOpen notes a relation's ends where they have not come yet.
func (r *relationCounter) keepOpen(source, target uint64) {
	ends := [2]uint64{source, target}
	switch {
	case r.ids.has(source) && r.ids.has(target):
		return
	case len(r.open) >= mostOpen && !r.overflow:
		r.thin()
		r.overflow = len(r.open) > mostOpen/2 // it would fill up again soon, and each look costs
	}
	if len(r.open) < mostOpen {
		r.open = append(r.open, ends)
	}
}

// thin forgets the relations whose ends have come. What stays at the end leads to what nothing has brought.
func (r *relationCounter) thin() {
	r.open = slices.DeleteFunc(r.open, func(ends [2]uint64) bool { return r.ids.has(ends[0]) && r.ids.has(ends[1]) })
}

// toFiltered takes those of the relations out that lead to what a filter leaves out, and returns how many they are.
func (r *relationCounter) toFiltered() int64 {
	if r.filtered == nil {
		return 0
	}
	all := len(r.open)
	leads := func(end uint64) bool { return !r.ids.has(end) && r.filtered.has(end) }
	r.open = slices.DeleteFunc(r.open, func(ends [2]uint64) bool { return leads(ends[0]) || leads(ends[1]) })
	return int64(all - len(r.open))
}

// builtInFitter makes relations such as a recent OpenCTI takes them, since the one that will get them is not asked.
func builtInFitter(fits bool, descriptions transform.Format) transform.Fitter {
	if !fits {
		return transform.Fitter{}
	}
	return transform.Fitter{Table: relations.BuiltIn(), Descriptions: descriptions}
}
