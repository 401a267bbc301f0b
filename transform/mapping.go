package transform

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/transform/relations"
)

// mostLevels is how deep an object may be nested: STIX has some ten levels, and what walks over an object costs its length for
// each.
const mostLevels = 200

// longestID is in bytes: no source has longer ones, and ids are kept in many places.
const longestID = 512

// mapping maps objects one by one.
type mapping struct {
	descriptions Format
	labels       Labels
	actors       actors
	author       pipeline.Object
	marking      pipeline.Object
	filters      filters
	wantsDerived func(typ string) bool // says which types of derived objects are imported
	observables  bool
	score        string // JSON, "" for none
}

// newMapping is for a configuration that was checked; marking is for objects that bring none.
func newMapping(c Config, marking pipeline.Object, f filters) mapping {
	m := mapping{
		descriptions: c.Descriptions, labels: c.Labels, actors: actors(c.ThreatActorAsIntrusionSet), author: constant(authorJSON), marking: marking,
		filters: f, wantsDerived: f.wantsDerived, observables: c.Observables,
	}
	if c.Score != nil {
		m.score = strconv.Itoa(*c.Score)
	}
	return m
}

// constant makes an object of a text that is the same in every run.
func constant(text string) pipeline.Object {
	o := pipeline.Object{JSON: slices.Clip([]byte(text))}
	members, _ := appendMembers(nil, o.JSON)
	for _, m := range members {
		switch string(m.name) {
		case "id":
			o.ID = string(unquote(m.value))
		case "type":
			o.Type = string(unquote(m.value))
		case "modified":
			o.Modified = readTime(m.value)
		}
	}
	o.Kind = kindOf(o.Type, members)
	o.Digest = new(hasher).digest(o.JSON, false)
	return o
}

// guarded is object, of which a panic costs that object.
func (p *mapping) guarded(s *scratch) (o pipeline.Object, reason refusal) {
	broken := pipeline.Catch(func() { reason = p.object(s) })
	if broken != nil {
		s.startAnew()
		return pipeline.Object{}, refusal{why: pipeline.Fault, text: broken.Error(), stack: broken.Stack()}
	}
	return s.object, reason
}

// object maps the object that was read, into the scratch. reason says why it is left out; the object then has at most its id, unless
// a filter leaves it out.
func (p *mapping) object(s *scratch) (reason refusal) {
	o := &s.object
	*o, s.mended = pipeline.Object{}, false
	if s.levels == 0 {
		return refusal{why: NotAnObject, text: "is not an object"}
	}
	if reason := p.head(s.members, o, &s.strings); reason.why != "" {
		return reason
	}
	if s.levels > mostLevels {
		*o = pipeline.Object{ID: o.ID}
		return refusal{why: TooDeep, text: fmt.Sprintf("is nested more than %d levels deep", mostLevels)}
	}
	b := builder{p: p, s: s, o: o}
	if reason := b.unwantedType(); reason.why != "" {
		o.Filtered = pipeline.Unwanted
		return reason
	}
	s.refs.strings = &s.strings
	s.refs.reset(o.ID, o.AltID)
	s.claim = claim{}
	authored, marked := b.write()
	if s.ctx.Err() != nil {
		return refusal{} // of no use: what follows takes as long for a large one
	}
	reason = missingEnd(o.Type, &s.refs)
	if reason.why == "" && p.isRelationToItself(o.Type, s.members) {
		reason = refusal{why: ToItself, text: "relates an object to itself"}
	}
	if reason.why != "" {
		*o = pipeline.Object{ID: o.ID}
		return reason
	}
	o.JSON, o.Refs = slices.Clip(bytes.Clone(s.out)), s.takeRefs()
	written := s.written()
	o.Digest = s.hash.digestOf(written, bool(p.actors) && o.Type == intrusionSet)
	o.Stated = s.hash.statedOf(written, authored, marked)
	return b.filter()
}

// head reads what identifies an object, and says what makes it impossible to send.
func (p *mapping) head(members []member, o *pipeline.Object, strings *internTable) (reason refusal) {
	var typ, id []byte
	var room [128]byte
	failed := false
	for _, m := range members {
		switch string(m.name) {
		case "error":
			failed = true
		case "type":
			typ = m.value
		case "id":
			id = m.value
		case "modified":
			o.Modified = readTime(m.value)
		case "x_opencti_id":
			if isString(m.value) && len(m.value) <= longestID+len(`""`) {
				o.AltID = strings.of(unquote(m.value))
			}
		}
	}
	if isString(id) {
		id := p.actors.mapID(room[:0], unquote(id))
		o.ID = strings.of(id)
	}
	switch {
	case failed:
		return refusal{why: CarriesAnError, text: "carries an error instead of data"}
	case len(id) > longestID+len(`""`):
		o.ID = ""
		return refusal{why: LongID, text: fmt.Sprintf("has an id of %d bytes", len(id))}
	case id != nil && !isString(id):
		return refusal{why: NoID, text: "has an id that is not text"}
	case o.ID == "":
		return refusal{why: NoID, text: "has no id"}
	case !isString(typ):
		return refusal{why: NoType, text: "has no type"}
	}
	known, ok := knownTypes[string(unquote(typ))]
	if !ok || !mayRefer(o.ID) {
		return refusal{why: UnknownType, text: "is of a type that OpenCTI does not know"}
	}
	o.Type = p.actors.mapType(known.name)
	o.Kind = kindOf(o.Type, members)
	return refusal{}
}

// kindOf returns what an object's members alone tell of its type in OpenCTI.
func kindOf(typ string, members []member) uint8 {
	return relations.KindOf(typ, func(name string) (text string, has bool) {
		for _, m := range members {
			if string(m.name) != name {
				continue
			}
			if isString(m.value) {
				text = string(unquote(m.value))
			}
			return text, true
		}
		return "", false
	})
}
