package transform

import (
	"bytes"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/transform/description"
	"github.com/opencti-connectors/threatmatch/transform/relations"
)

// scratch is what one call of Transform reuses from object to object.
type scratch struct {
	out     []byte
	members []member
	refs    refSet
	hash    hasher
}

// maxScratch bounds what an outlier leaves behind in the pool, in bytes.
const maxScratch = 1 << 20

// release forgets the texts that the scratch looked into, so that the pool does not keep an item alive.
func (s *scratch) release() {
	if cap(s.out) > maxScratch || cap(s.members) > maxScratch/64 {
		*s = scratch{}
		return
	}
	clear(s.members[:cap(s.members)])
	clear(s.hash.members[:cap(s.hash.members)])
	s.refs.ids = nil
}

// mapping maps objects one by one.
type mapping struct {
	descriptions Format
	actors       actors
	author       pipeline.Object
	marking      pipeline.Object
	// The members that an object without them gets.
	authorMember, markingMember string
}

// newMapping is for a configuration that was checked; marking is the text of the marking for objects that bring none.
func newMapping(c Config, marking string) mapping {
	m := mapping{descriptions: c.Descriptions, actors: actors(c.ThreatActorAsIntrusionSet), author: constant(authorJSON), marking: constant(marking)}
	m.authorMember = `"created_by_ref":"` + m.author.ID + `"`
	m.markingMember = `"object_marking_refs":["` + m.marking.ID + `"]`
	return m
}

// constant makes an object of a text that is the same in every run.
func constant(text string) pipeline.Object {
	o := pipeline.Object{JSON: []byte(text)}
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

// object maps one object. reason says why it is left out; the object then has at most its id.
func (p *mapping) object(s *scratch, text []byte) (o pipeline.Object, reason string) {
	var ok bool
	if s.members, ok = appendMembers(s.members[:0], text); !ok {
		return o, "is not an object"
	}
	if reason := p.head(s.members, &o); reason != "" {
		return o, reason
	}
	b := builder{p: p, s: s, o: &o}
	s.refs.reset(o.ID, o.AltID)
	b.write()
	if reason := missingEnd(o.Type, &s.refs); reason != "" {
		return pipeline.Object{ID: o.ID}, reason
	}
	o.JSON = bytes.Clone(s.out)
	o.Refs = s.refs.list()
	o.Digest = s.hash.digest(o.JSON, bool(p.actors) && o.Type == intrusionSet)
	return o, ""
}

// head reads what identifies an object, and says what makes it impossible to send.
func (p *mapping) head(members []member, o *pipeline.Object) (reason string) {
	var typ, id, text []byte
	failed := false
	for _, m := range members {
		switch string(m.name) {
		case "error":
			failed = true
		case "type":
			typ = m.value
		case "id":
			id = m.value
		case "description":
			text = m.value
		case "modified":
			o.Modified = readTime(m.value)
		case "x_opencti_id":
			if isString(m.value) {
				o.AltID = string(unquote(m.value))
			}
		}
	}
	if isString(id) {
		o.ID = string(p.actors.mapID(unquote(id)))
	}
	switch {
	case failed:
		return "carries an error instead of data"
	case id != nil && !isString(id):
		return "has an id that is not text"
	case o.ID == "":
		return "has no id"
	case !isString(typ):
		return "has no type"
	case text != nil && !isString(text) && !isNull(text):
		return "has a description that is not text"
	}
	known, ok := knownTypes[string(unquote(typ))]
	if !ok || !mayRefer([]byte(o.ID)) {
		return "is of a type that OpenCTI does not know"
	}
	o.Type = p.actors.mapType(known.name)
	o.Kind = kindOf(o.Type, members)
	return ""
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

// builder writes the mapped text of one object into its scratch.
type builder struct {
	p *mapping
	s *scratch
	o *pipeline.Object
}

// write maps the members. Author and marking are added when their keys are missing, or hold what can be neither; a null,
// an empty text or an empty list is taken for what the source means.
func (b *builder) write() {
	s := b.s
	s.out = append(s.out[:0], '{')
	authored, marked := false, false
	for _, m := range s.members {
		switch string(m.name) {
		case authorKey:
			authored = isString(m.value) || isNull(m.value)
		case markingKey:
			marked = m.value[0] == '[' || isNull(m.value)
		}
		b.member(m)
	}
	if !authored {
		b.comma()
		s.out = append(s.out, b.p.authorMember...)
		s.refs.add([]byte(b.p.author.ID), authorKey)
	}
	if !marked {
		b.comma()
		s.out = append(s.out, b.p.markingMember...)
		s.refs.add([]byte(b.p.marking.ID), markingKey)
	}
	s.out = append(s.out, '}')
}

func (b *builder) comma() {
	if len(b.s.out) > 1 {
		b.s.out = append(b.s.out, ',')
	}
}

// open begins a member under the name as it stands in the source.
func (b *builder) open(m member) {
	b.comma()
	b.s.out = append(append(b.s.out, m.quoted...), ':')
}

func (b *builder) member(m member) {
	s := b.s
	switch string(m.name) {
	case "labels":
		return
	case "type":
		b.open(m)
		s.out = append(append(append(s.out, '"'), b.o.Type...), '"')
		return
	case "id":
		b.open(m)
		s.out = b.p.actors.appendID(s.out, m.value)
		return
	case "description":
		b.open(m)
		s.out = appendDescription(s.out, m.value, b.p.descriptions)
		return
	case "relationship_type":
		if b.o.Type == "relationship" && isString(m.value) && string(unquote(m.value)) == "associated_content" {
			b.open(m)
			s.out = append(s.out, `"related-to"`...)
			return
		}
	case "external_references":
		b.open(m)
		s.out = appendUnique(s.out, m.value, referenceKey)
		return
	case "kill_chain_phases":
		b.open(m)
		s.out = appendUnique(s.out, m.value, phaseKey)
		return
	case "object_refs":
		if !knownTypes[b.o.Type].holds {
			return
		}
	}
	switch {
	case bytes.HasSuffix(m.name, []byte("_refs")):
		b.refList(m)
	case bytes.HasSuffix(m.name, []byte("_ref")):
		b.ref(m)
	default:
		b.open(m)
		s.out = b.p.actors.appendNested(s.out, m.value)
	}
}

// ref keeps a reference that can lead somewhere; without one the member goes, since STIX has no null.
func (b *builder) ref(m member) {
	if !isString(m.value) {
		return
	}
	id := b.p.actors.mapID(unquote(m.value))
	if !b.s.refs.add(id, string(m.name)) {
		return
	}
	b.open(m)
	b.s.out = b.p.actors.appendID(b.s.out, m.value)
}

// refList keeps the references of a list that can lead somewhere, each once. A null stays what it is.
func (b *builder) refList(m member) {
	if isNull(m.value) {
		b.open(m)
		b.s.out = append(b.s.out, m.value...)
		return
	}
	elements, ok := appendElements(nil, m.value)
	if !ok {
		return
	}
	b.open(m)
	s := b.s
	s.out = append(s.out, '[')
	start := len(s.out)
	s.refs.beginList()
	name := string(m.name)
	for _, e := range elements {
		if !isString(e) || !s.refs.addToList(b.p.actors.mapID(unquote(e)), name) {
			continue
		}
		if len(s.out) > start {
			s.out = append(s.out, ',')
		}
		s.out = b.p.actors.appendID(s.out, e)
	}
	s.out = append(s.out, ']')
}

// appendDescription appends a description in a format, and as it came when that changes nothing.
func appendDescription(dst, value []byte, f Format) []byte {
	if !isString(value) || f == HTML {
		return append(dst, value...)
	}
	plain := string(unquote(value))
	converted := description.Convert(f, plain)
	if converted == plain {
		return append(dst, value...)
	}
	return appendQuoted(dst, converted)
}
