package transform

import (
	"bytes"
	"slices"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

const (
	authorKey  = "created_by_ref"
	markingKey = "object_marking_refs"
)

// refSet collects what an object refers to, each id once, in order, never the object itself.
type refSet struct {
	self, alt string
	ids       []string
	// seen answers for ids once there are too many to look through.
	seen map[string]bool
	// lists of one member: an id may stand in several lists, but in each once.
	inList []string
	listed map[string]bool
	// ends remembers which of the members that relations live by are there.
	ends uint8
}

const (
	hasSource uint8 = 1 << iota
	hasTarget
	hasSighted
	hasWhere
)

// few is how many ids are looked through one by one before a map is faster.
const few = 12

func (r *refSet) reset(self, alt string) {
	r.self, r.alt, r.ends = self, alt, 0
	// The ids went into the object before; only the room of the lists is used again.
	r.ids = nil
	r.seen = nil
	r.beginList()
}

func (r *refSet) list() []string { return r.ids }

// add takes up a reference that stands in the member key; false says that it has to go.
func (r *refSet) add(id []byte, key string) bool {
	if string(id) == r.self || (r.alt != "" && string(id) == r.alt) || !mayRefer(id) {
		return false
	}
	r.note(key)
	if r.seen == nil && len(r.ids) > few {
		r.seen = make(map[string]bool, 4*few)
		for _, known := range r.ids {
			r.seen[known] = true
		}
	}
	if r.seen != nil {
		if r.seen[string(id)] {
			return true
		}
		s := string(id)
		r.seen[s] = true
		r.ids = append(r.ids, s)
		return true
	}
	for _, known := range r.ids {
		if known == string(id) {
			return true
		}
	}
	r.ids = append(r.ids, string(id))
	return true
}

func (r *refSet) beginList() {
	r.inList = r.inList[:0]
	r.listed = nil
}

// addToList is add for the elements of a list, of which a repeated one has to go too.
func (r *refSet) addToList(id []byte, key string) bool {
	if r.listed == nil && len(r.inList) > few {
		r.listed = make(map[string]bool, 4*few)
		for _, known := range r.inList {
			r.listed[known] = true
		}
	}
	if r.listed[string(id)] || r.listed == nil && slices.Contains(r.inList, string(id)) {
		return false
	}
	if !r.add(id, key) {
		return false
	}
	if r.listed != nil {
		r.listed[string(id)] = true
	} else {
		r.inList = append(r.inList, string(id))
	}
	return true
}

func (r *refSet) note(key string) {
	switch key {
	case "source_ref":
		r.ends |= hasSource
	case "target_ref":
		r.ends |= hasTarget
	case "sighting_of_ref":
		r.ends |= hasSighted
	case "where_sighted_refs":
		r.ends |= hasWhere
	}
}

// missingEnd says what a relation lacks without which it must not be sent.
func missingEnd(typ string, r *refSet) string {
	switch {
	case typ == "relationship" && r.ends&hasSource == 0:
		return "has no source_ref that could be followed"
	case typ == "relationship" && r.ends&hasTarget == 0:
		return "has no target_ref that could be followed"
	case typ == "sighting" && r.ends&hasSighted == 0:
		return "has no sighting_of_ref that could be followed"
	case typ == "sighting" && r.ends&hasWhere == 0:
		return "has no where_sighted_refs that could be followed"
	}
	return ""
}

// WithoutRefs returns the object without the references that drop names: a list loses those elements, a single reference
// its member. It asks drop once for each of the object's references. ok is false when what is left must not be sent: a
// relationship without one of its ends, a sighting without its subject or without any place.
//
// The Digest stays: it tells which content of the source the object was made from, whatever was taken off it.
func WithoutRefs(o pipeline.Object, drop func(ref string) bool) (result pipeline.Object, ok bool) {
	gone := make(map[string]bool)
	kept := make([]string, 0, len(o.Refs))
	for _, ref := range o.Refs {
		if drop(ref) {
			gone[ref] = true
		} else {
			kept = append(kept, ref)
		}
	}
	if len(gone) == 0 {
		return o, true
	}
	members, valid := appendMembers(nil, o.JSON)
	if !valid {
		return o, false
	}
	var left refSet
	out := append(make([]byte, 0, len(o.JSON)), '{')
	for _, m := range members {
		at := len(out)
		if at > 1 {
			out = append(out, ',')
		}
		out = append(append(out, m.quoted...), ':')
		keep := true
		switch {
		case bytes.HasSuffix(m.name, []byte("_refs")):
			out = appendWithout(out, m, gone, &left)
		case bytes.HasSuffix(m.name, []byte("_ref")):
			keep = !isString(m.value) || !gone[string(unquote(m.value))]
			if keep {
				left.note(string(m.name))
			}
			out = append(out, m.value...)
		default:
			out = append(out, m.value...)
		}
		if !keep {
			out = out[:at]
		}
	}
	o.JSON, o.Refs = append(out, '}'), kept
	return o, missingEnd(o.Type, &left) == ""
}

// appendWithout appends a list of references without those that are gone, and notes whether one is left.
func appendWithout(dst []byte, m member, gone map[string]bool, left *refSet) []byte {
	elements, ok := appendElements(nil, m.value)
	if !ok {
		return append(dst, m.value...)
	}
	dst = append(dst, '[')
	start := len(dst)
	for _, e := range elements {
		if isString(e) && gone[string(unquote(e))] {
			continue
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = append(dst, e...)
	}
	if len(dst) > start {
		left.note(string(m.name))
	}
	return append(dst, ']')
}
