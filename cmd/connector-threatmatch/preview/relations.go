package preview

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/transform"
	"github.com/opencti-connectors/threatmatch/transform/relations"
)

// relationCounter finds out what becomes of relations: which get another type, which lead to what nothing brings, and which are
// not sent because a filter leaves out what they lead to.
type relationCounter struct {
	fitter transform.Fitter
	ids    *seen          // of all objects
	types  map[string]int // distinct ids, of all objects
	// kinds are those of the ends that have been met, by the hash of their id.
	kinds map[uint64]uint8

	total    int
	refitted map[string]*int // by "from → to"
	fitted   int
	// open are the copies of relations whose ends had not come when they did. They count as sent until they are left out.
	open     []relation
	overflow bool // more were open than are remembered
	// withoutEnd is how many lead to what nothing has brought, once all have come.
	withoutEnd int
	// filtered are the ids of what a filter leaves out, and left those of the relations that go with it; nil for none.
	filtered, left *seen
}

// relation is how one copy of a relation or sighting was counted, so that it can be taken back.
type relation struct {
	id   uint64
	ends [2]uint64 // 0 for one that it can do without
	in   *count
	// refitted is where it counts that it gets another type, nil where it keeps its own.
	refitted       *int
	bytes, message int32
	// first of its id, fresh as the first copy of its version, late as [count.lateMessages] has it.
	first, fresh, late bool
	sights             bool // it is a sighting, and no relation
	chained            bool // an end is a relation itself, of which more has to be known than that it came
}

const (
	mostKinds    = 200_000 // some 8 MB; of an end beyond that any kind counts
	mostOpen     = 250_000 // some 16 MB
	mostRefitted = 100     // of the names that a feed may make up
	otherTypes   = "others"
)

func newRelationCounter(f transform.Fitter, ids *seen, types map[string]int) *relationCounter {
	return &relationCounter{fitter: f, ids: ids, types: types, kinds: map[uint64]uint8{}, refitted: map[string]*int{}}
}

// meet notes the kinds of an item's objects, which tell how its relations fit, and which of them a filter leaves out.
func (r *relationCounter) meet(objects []pipeline.Object) {
	for _, o := range objects {
		if o.Filtered != pipeline.Wanted {
			if r.filtered == nil {
				r.filtered = newSeen()
			}
			r.filtered.add(hashOf(o.ID))
			if o.AltID != "" {
				r.filtered.add(hashOf(o.AltID))
			}
		}
		if o.Kind != 0 && len(r.kinds) < mostKinds {
			r.kinds[hashOf(o.ID)] = o.Kind
		}
	}
}

// fit returns an object as it would be sent, and counts it where it is a relation that is new: refitted is where, see [relation].
func (r *relationCounter) fit(o pipeline.Object, fresh bool) (fitted pipeline.Object, refitted *int) {
	if o.Type != "relationship" {
		return o, nil
	}
	fitted, from, to := r.fitter.Fit(o, func(ref string) uint8 { return r.kinds[hashOf(ref)] })
	if !fresh {
		return fitted, nil
	}
	r.total++
	if to == "" {
		return fitted, nil
	}
	r.fitted++
	name := shortened(from) + " → " + to
	if r.refitted[name] == nil && len(r.refitted) >= mostRefitted {
		name = otherTypes
	}
	if r.refitted[name] == nil {
		r.refitted[name] = new(int)
	}
	*r.refitted[name]++
	return fitted, r.refitted[name]
}

// refittedTypes are the numbers of those that would get another type, by "from → to".
func (r *relationCounter) refittedTypes() map[string]int {
	types := map[string]int{}
	for name, n := range r.refitted {
		if *n > 0 {
			types[name] = *n
		}
	}
	return types
}

// keep remembers a copy of a relation that has been counted as long as it can turn out that it is not sent, and reports whether
// that is so.
func (r *relationCounter) keep(o pipeline.Object, as relation) (undecided bool) {
	if !relates(o.Type) {
		return false
	}
	as.sights = o.Type == "sighting"
	as.ends, as.chained = endsOf(o.JSON)
	if r.isSettled(as) {
		return false
	}
	if len(r.open) >= mostOpen && !r.overflow {
		r.thin()
		r.overflow = len(r.open) > mostOpen/2 // it would fill up again soon, and each look costs
	}
	switch {
	case len(r.open) < mostOpen:
		r.open = append(r.open, as)
	case r.leadsToFiltered(as.ends):
		r.leaveOut(as)
	}
	return true
}

// relates says that objects of a type make no sense without what they lead to.
func relates(typ string) bool { return typ == "relationship" || typ == "sighting" }

// endsOf reads what a relation or sighting cannot do without: of several places that saw something any is enough.
func endsOf(text []byte) (ends [2]uint64, chained bool) {
	var has struct {
		Source   any `json:"source_ref"`
		Target   any `json:"target_ref"`
		Sighting any `json:"sighting_of_ref"`
		Places   any `json:"where_sighted_refs"`
	}
	if json.Unmarshal(text, &has) != nil {
		return ends, false
	}
	if places, _ := has.Places.([]any); len(places) == 1 && has.Target == nil {
		has.Target = places[0]
	}
	if has.Source == nil {
		has.Source = has.Sighting
	}
	for i, end := range []any{has.Source, has.Target} {
		if id, ok := end.(string); ok {
			typ, _, _ := strings.Cut(id, "--")
			ends[i], chained = hashOf(id), chained || relates(typ)
		}
	}
	return ends, chained
}

// isSettled says that a relation is sent, whatever comes.
func (r *relationCounter) isSettled(c relation) bool { return !c.chained && r.haveCome(c.ends) }

func (r *relationCounter) haveCome(ends [2]uint64) bool {
	return !slices.ContainsFunc(ends[:], func(end uint64) bool { return end != 0 && !r.ids.has(end) })
}

// leadsToFiltered says that no copy of an end has come but such as a filter leaves out.
func (r *relationCounter) leadsToFiltered(ends [2]uint64) bool {
	return slices.ContainsFunc(ends[:], func(end uint64) bool {
		return end != 0 && (r.left != nil && r.left.has(end) || r.filtered != nil && r.filtered.has(end) && !r.ids.has(end))
	})
}

// thin forgets the relations whose ends have come, and leaves out those that lead to what a filter leaves out. Where it is called
// before all have come, a copy that passes may come later yet: of so many relations the number is a guess.
func (r *relationCounter) thin() {
	r.open = slices.DeleteFunc(r.open, func(c relation) bool {
		if r.isSettled(c) {
			return true
		}
		leads := r.leadsToFiltered(c.ends)
		if leads {
			r.leaveOut(c)
		}
		return leads
	})
}

// settle decides on all relations that are open, once everything has come: others may lead to those that are left out.
func (r *relationCounter) settle() {
	for before := -1; len(r.open) != before; {
		before = len(r.open)
		r.thin()
	}
	for _, c := range r.open {
		if c.fresh && !c.sights && !r.haveCome(c.ends) {
			r.withoutEnd++
		}
	}
	r.open = nil
}

// leaveOut takes back that a copy of a relation was counted as sent.
func (r *relationCounter) leaveOut(c relation) {
	if r.left == nil {
		r.left = newSeen()
	}
	if r.left.add(c.id) {
		c.in.toFiltered++
	}
	typ := "relationship"
	if c.sights {
		typ = "sighting"
	}
	lessen(c.in.objects, typ)
	c.in.bytes -= int64(c.bytes)
	if c.first {
		lessen(r.types, typ)
	}
	if !c.fresh {
		return
	}
	c.in.messages--
	c.in.messageBytes -= int64(c.message)
	if c.late {
		c.in.lateMessages--
	}
	if !c.sights {
		r.total--
	}
	if c.refitted != nil {
		*c.refitted--
		r.fitted--
	}
}

// isLeftOut says of the text of a relation that it is not sent for what a filter leaves out; it is known once all are settled.
func (r *relationCounter) isLeftOut(text []byte) bool {
	ends, _ := endsOf(text)
	return r.leadsToFiltered(ends)
}

// lessen counts one less of a type.
func lessen(types map[string]int, typ string) {
	if types[typ]--; types[typ] <= 0 {
		delete(types, typ)
	}
}

// builtInFitter makes relations such as a recent OpenCTI takes them, since the one that will get them is not asked.
func builtInFitter(fits bool, descriptions transform.Format) transform.Fitter {
	if !fits {
		return transform.Fitter{}
	}
	return transform.Fitter{Table: relations.BuiltIn(), Descriptions: descriptions}
}
