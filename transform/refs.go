package transform

import "bytes"

const (
	authorKey  = "created_by_ref"
	markingKey = "object_marking_refs"
)

// refSet collects what an object refers to, each id once, in order, never the object itself.
type refSet struct {
	self, alt string
	ids       []string
	// strings makes the ids, if they are to be shared.
	strings *internTable
	// seen answers for ids once there are too many to look through.
	seen map[string]bool
	// list is of one member: an id may stand in several lists, but in each once.
	list keySet
	// ends remembers which of the members that relations live by are there, and those that no object is without.
	ends uint8
}

const (
	hasSource uint8 = 1 << iota
	hasTarget
	hasSighted
	hasWhere
	hasAuthor
	hasMarking
)

// few is how many ids are looked through one by one before a map is faster.
const few = 12

// reset begins with another object. Whoever has asked for the ids of the one before has to have copied them.
func (r *refSet) reset(self, alt string) {
	clear(r.ids)
	r.list.clear()
	*r = refSet{self: self, alt: alt, ids: r.ids[:0], strings: r.strings, list: r.list}
}

// add takes up a reference that stands in the member key; false says that it has to go.
func (r *refSet) add(id []byte, key string) bool {
	if string(id) == r.self || (r.alt != "" && string(id) == r.alt) || !mayRefer(id) || !canBe(id, key) {
		return false
	}
	r.note(key)
	if hasID(r, id) {
		return true
	}
	r.append(r.strings.of(id))
	return true
}

// addOwn takes up one of the mapping's own objects, unless it is what refers.
func (r *refSet) addOwn(id string) {
	if id != r.self && (r.alt == "" || id != r.alt) && !hasID(r, id) {
		r.append(id)
	}
}

func (r *refSet) append(id string) {
	if r.seen != nil {
		r.seen[id] = true
	}
	r.ids = append(r.ids, id)
}

func hasID[T string | []byte](r *refSet, id T) bool {
	if len(r.ids) <= few {
		for _, known := range r.ids {
			if known == string(id) {
				return true
			}
		}
		return false
	}
	if r.seen == nil {
		r.seen = make(map[string]bool, 4*few)
		for _, known := range r.ids {
			r.seen[known] = true
		}
	}
	return r.seen[string(id)]
}

func (r *refSet) beginList() { r.list.clear() }

// addToList is add for the elements of a list, of which a repeated one has to go too.
func (r *refSet) addToList(id []byte, member string) bool {
	return r.add(id, member) && r.list.add(key{first: id})
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
	case authorKey:
		r.ends |= hasAuthor
	case markingKey:
		r.ends |= hasMarking
	}
}

// missingEnd says what a relation lacks without which it must not be sent.
func missingEnd(typ string, r *refSet) refusal {
	switch {
	case typ == "relationship" && r.ends&hasSource == 0:
		return refusal{why: NoEnd, text: "has no source_ref that could be followed"}
	case typ == "relationship" && r.ends&hasTarget == 0:
		return refusal{why: NoEnd, text: "has no target_ref that could be followed"}
	case typ == "sighting" && r.ends&hasSighted == 0:
		return refusal{why: NoEnd, text: "has no sighting_of_ref that could be followed"}
	case typ == "sighting" && r.ends&hasWhere == 0:
		return refusal{why: NoEnd, text: "has no where_sighted_refs that could be followed"}
	}
	return refusal{}
}

// isAssociatedContent says that a relation is of the type that ThreatMatch has for anything that belongs together, in either
// of its spellings. STIX calls that related-to.
func isAssociatedContent(relationshipType []byte) bool {
	return string(relationshipType) == "associated_content" || string(relationshipType) == "associated-content"
}

// isRelationToItself says whether the two ends of a relation are one object on the other side: OpenCTI refuses that.
func (p *mapping) isRelationToItself(typ string, members []member) bool {
	if typ != "relationship" {
		return false
	}
	var room [2][128]byte
	source, target := p.ref(room[0][:0], members, "source_ref"), p.ref(room[1][:0], members, "target_ref")
	return source != nil && bytes.Equal(source, target)
}

// subject returns what is sighted where a member of a sighting says who saw it, nil for any other member: nothing is sighted at
// itself.
func (b *builder) subject(name string) []byte {
	if b.o.Type != "sighting" || name != "where_sighted_refs" {
		return nil
	}
	return b.p.ref(nil, b.s.members, "sighting_of_ref")
}

// ref returns the mapped id that a member holds, perhaps in the room behind dst; nil when it holds none.
func (p *mapping) ref(dst []byte, members []member, name string) []byte {
	for _, m := range members {
		if string(m.name) == name && isString(m.value) {
			return p.actors.mapID(dst, unquote(m.value))
		}
	}
	return nil
}
