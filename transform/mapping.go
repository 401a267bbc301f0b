package transform

import (
	"bytes"
	"context"
	"fmt"
	"strconv"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/transform/description"
	"github.com/opencti-connectors/threatmatch/transform/relations"
)

// scratch is what one call of Transform reuses from object to object.
type scratch struct {
	ctx     context.Context // of the call that uses it
	object  pipeline.Object // the one that was mapped last
	out     []byte
	members []member
	refs    refSet
	hash    hasher
	// describe converts descriptions; described is the last one.
	describe  description.Converter
	described []byte
	// mended says that the object that was mapped last had a description that is no text, or a date that is none.
	mended bool
	// claim is what the object says that was mapped last.
	claim claim
}

// maxScratch bounds what an outlier leaves behind in the pool, in bytes.
const maxScratch = 1 << 20

// release forgets the texts that the scratch looked into, so that the pool does not keep an item alive.
func (s *scratch) release() {
	if cap(s.out)+cap(s.described) > maxScratch || cap(s.members) > maxScratch/64 {
		*s = scratch{}
		return
	}
	clear(s.members[:cap(s.members)])
	clear(s.hash.members[:cap(s.hash.members)])
	s.refs.ids = nil
	s.object, s.claim = pipeline.Object{}, claim{}
	s.ctx = nil
}

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
	observables  bool
	score        string // JSON, "" for none
	// The members that an object without them gets.
	authorMember, markingMember string
}

// newMapping is for a configuration that was checked; marking is for objects that bring none.
func newMapping(c Config, marking pipeline.Object, f filters) mapping {
	m := mapping{
		descriptions: c.Descriptions, labels: c.Labels, actors: actors(c.ThreatActorAsIntrusionSet), author: constant(authorJSON), marking: marking,
		filters: f, observables: c.Observables,
	}
	if c.Score != nil {
		m.score = strconv.Itoa(*c.Score)
	}
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

// guarded is object, of which a panic costs that object.
func (p *mapping) guarded(s *scratch, text []byte) (o pipeline.Object, reason refusal) {
	broken := pipeline.Catch(func() { reason = p.object(s, text) })
	if broken != nil {
		*s = scratch{ctx: s.ctx} // nobody knows what state it is in
		return pipeline.Object{}, refusal{why: pipeline.Fault, text: broken.Error(), stack: broken.Stack()}
	}
	return s.object, reason
}

// object maps one object into the scratch. reason says why it is left out; the object then has at most its id, unless a filter
// leaves it out.
func (p *mapping) object(s *scratch, text []byte) (reason refusal) {
	o := &s.object
	*o, s.mended = pipeline.Object{}, false
	var ok bool
	if s.members, ok = appendMembers(s.members[:0], text); !ok {
		return refusal{why: NotAnObject, text: "is not an object"}
	}
	if reason := p.head(s.members, o); reason.why != "" {
		return reason
	}
	if isDeeper(text, mostLevels) {
		*o = pipeline.Object{ID: o.ID}
		return refusal{why: TooDeep, text: fmt.Sprintf("is nested more than %d levels deep", mostLevels)}
	}
	b := builder{p: p, s: s, o: o}
	if reason := b.unwantedType(); reason.why != "" {
		o.Filtered = pipeline.Unwanted
		return reason
	}
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
	o.JSON = bytes.Clone(s.out)
	o.Refs = s.refs.list()
	o.Digest = s.hash.digest(o.JSON, bool(p.actors) && o.Type == intrusionSet)
	o.Stated = s.hash.stated(o.JSON, authored, marked)
	return b.filter()
}

// head reads what identifies an object, and says what makes it impossible to send.
func (p *mapping) head(members []member, o *pipeline.Object) (reason refusal) {
	var typ, id []byte
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
				o.AltID = string(unquote(m.value))
			}
		}
	}
	if isString(id) {
		o.ID = string(p.actors.mapID(unquote(id)))
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
	if !ok || !mayRefer([]byte(o.ID)) {
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

// builder writes the mapped text of one object into its scratch.
type builder struct {
	p *mapping
	s *scratch
	o *pipeline.Object
}

// write maps the members. An object that names no author, or only what can be none, gets [authorJSON]'s, and likewise with
// markings. It reports whether author and markings are the object's own.
func (b *builder) write() (authored, marked bool) {
	s := b.s
	s.out = append(s.out[:0], '{')
	for _, m := range s.members {
		b.member(m)
	}
	if b.find("external_references") == nil {
		b.references(nil)
	}
	b.observableType()
	b.score()
	b.observed()
	authored, marked = s.refs.ends&hasAuthor != 0, s.refs.ends&hasMarking != 0
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
	return authored, marked
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
	if isNull(m.value) { // it says no more than a member that is missing
		return
	}
	switch string(m.name) {
	case "labels":
		b.labels(m)
		return
	case "type":
		b.open(m)
		s.out = append(append(append(s.out, '"'), b.o.Type...), '"')
		return
	case "id":
		b.open(m)
		s.out = b.p.actors.appendID(s.out, m.value)
		return
	case "name":
		b.name(m)
		return
	case "aliases", "x_opencti_aliases", "x_mitre_aliases", "x_amitt_aliases":
		b.aliases(m)
		return
	case "description":
		b.description(m)
		return
	case observableTypeKey:
		if b.o.Type == "indicator" && !hasText(m.value) {
			return
		}
	case "relationship_type":
		if b.o.Type == "relationship" && isString(m.value) && isAssociatedContent(unquote(m.value)) {
			b.open(m)
			s.out = append(s.out, `"related-to"`...)
			return
		}
	case "external_references":
		b.references(&m)
		return
	case "kill_chain_phases", "x_opencti_kill_chain_phases":
		b.phases(m)
		return
	case containedKey:
		if !knownTypes[b.o.Type].holds {
			b.listed(m)
			return
		}
	}
	switch {
	case isDate(m.name):
		b.date(m)
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

// refList keeps the references of a list that can lead somewhere, each once. A list of markings that has none left goes: see
// write.
func (b *builder) refList(m member) {
	name := string(m.name)
	elements, ok := appendElements(nil, m.value)
	switch {
	case ok:
	case name == markingKey && isString(m.value):
		elements = [][]byte{m.value}
	default:
		return
	}
	s := b.s
	at := len(s.out)
	b.open(m)
	s.out = append(s.out, '[')
	start := len(s.out)
	s.refs.beginList()
	subject := b.subject(name)
	for _, e := range elements {
		if !isString(e) {
			continue
		}
		if name == markingKey {
			e = asMarking(e)
		}
		id := b.p.actors.mapID(unquote(e))
		if bytes.Equal(id, subject) || !s.refs.addToList(id, name) {
			continue
		}
		if len(s.out) > start {
			s.out = append(s.out, ',')
		}
		s.out = b.p.actors.appendID(s.out, e)
	}
	if name == markingKey && len(s.out) == start {
		s.out = s.out[:at]
		return
	}
	s.out = append(s.out, ']')
}

// description keeps a description in the format that is asked for, and as it came when that changes nothing. What is no text
// is left out and counted.
func (b *builder) description(m member) {
	if !isString(m.value) {
		b.s.mended = true
		return
	}
	b.open(m)
	if b.p.descriptions == HTML {
		b.s.out = append(b.s.out, m.value...)
		return
	}
	s, plain := b.s, b.descriptionText(m.value)
	s.described = s.describe.Append(s.ctx, s.described[:0], b.p.descriptions, plain)
	if string(s.described) == plain {
		s.out = append(s.out, m.value...)
		return
	}
	s.out = appendQuoted(s.out, s.described)
}

func (b *builder) descriptionText(value []byte) string { return string(unquote(value)) }
