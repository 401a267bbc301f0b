package transform

import (
	"bytes"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/transform/relations"
)

// builder writes the mapped text of one object into its scratch.
type builder struct {
	p *mapping
	s *scratch
	o *pipeline.Object
	// start is where the first element of the list under way stands in the text.
	start int
	// told is what the description says, and pattern the pattern, once somebody has asked.
	told    telling
	pattern string
}

// place is where a member stands in the text that is written: its quoted name, and its value behind a colon.
type place struct {
	name, from, to int
	// escaped says that there are escapes in the name, and canonical that the value is a text in its shortest form.
	escaped, canonical bool
}

// write maps the members. An object that names no author, or only what can be none, gets [authorJSON]'s, and likewise with
// markings. It reports whether author and markings are the object's own.
func (b *builder) write() (authored, marked bool) {
	s := b.s
	s.out, s.places = append(s.out[:0], '{'), s.places[:0]
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
		b.openNamed(authorKey)
		s.out = append(append(append(s.out, '"'), b.p.author.ID...), '"')
		s.refs.addOwn(b.p.author.ID)
	}
	if !marked {
		b.openNamed(markingKey)
		s.out = append(append(append(s.out, `["`...), b.p.marking.ID...), `"]`...)
		s.refs.addOwn(b.p.marking.ID)
	}
	s.places[len(s.places)-1].to = len(s.out)
	s.out = append(s.out, '}')
	return authored, marked
}

// comma ends the member under way, if there is one, before the next.
func (b *builder) comma() {
	s := b.s
	if n := len(s.places); n > 0 {
		s.places[n-1].to = len(s.out)
		s.out = append(s.out, ',')
	}
}

// open begins a member under the name as it stands in the source.
func (b *builder) open(m member) {
	b.comma()
	s, name := b.s, len(b.s.out)
	s.out = append(append(s.out, m.quoted...), ':')
	s.places = append(s.places, place{name: name, from: len(s.out), escaped: len(m.name) < len(m.quoted)-len(`""`)})
}

// openNamed begins a member that is the mapping's own.
func (b *builder) openNamed(name string) {
	b.comma()
	s, at := b.s, len(b.s.out)
	s.out = append(append(append(s.out, '"'), name...), `":`...)
	s.places = append(s.places, place{name: at, from: len(s.out)})
}

// begin begins a member that is a list.
func (b *builder) begin(m member) {
	b.open(m)
	b.beginList()
}

func (b *builder) beginList() {
	b.s.out = append(b.s.out, '[')
	b.start = len(b.s.out)
}

// element begins an element of the list and returns the text to append it to.
func (b *builder) element() []byte {
	if len(b.s.out) > b.start {
		return append(b.s.out, ',')
	}
	return b.s.out
}

// endOrDrop ends the list; the member goes with its last element.
func (b *builder) endOrDrop() {
	s := b.s
	if len(s.out) > b.start {
		s.out = append(s.out, ']')
		return
	}
	n := len(s.places) - 1
	s.places, s.out = s.places[:n], s.out[:1]
	if n > 0 {
		s.out = s.out[:s.places[n-1].to]
	}
}

// member writes a member as OpenCTI takes it. Null says no more than a member that is missing.
func (b *builder) member(m member) {
	if isNull(m.value) {
		return
	}
	s := b.s
	switch string(m.name) {
	case "labels":
		b.labels(m)
	case "type":
		b.open(m)
		s.out = append(append(append(s.out, '"'), b.o.Type...), '"')
	case "id":
		b.open(m)
		s.out = appendID(s.out, m.value, b.p.actors.mapID(s.plain[:0], unquote(m.value)))
	case "name":
		b.name(m)
	case "aliases", "x_opencti_aliases", "x_mitre_aliases", "x_amitt_aliases":
		b.aliases(m)
	case "description":
		b.description(m)
	case observableTypeKey:
		if b.o.Type != "indicator" || hasText(m.value) {
			b.other(m)
		}
	case "relationship_type":
		if b.o.Type == "relationship" && isString(m.value) && isAssociatedContent(unquote(m.value)) {
			b.open(m)
			s.out = append(s.out, `"`+relations.RelatedTo+`"`...)
		} else {
			b.other(m)
		}
	case "external_references":
		b.references(&m)
	case "kill_chain_phases", "x_opencti_kill_chain_phases":
		b.phases(m)
	case containedKey:
		if knownTypes[b.o.Type].holds {
			b.other(m)
		} else {
			b.listed(m)
		}
	default:
		b.other(m)
	}
}

// other writes a member of which the name alone says what it holds: a date, references, or anything.
func (b *builder) other(m member) {
	switch {
	case isDate(m.name):
		b.date(m)
	case bytes.HasSuffix(m.name, []byte("_refs")):
		b.refList(m)
	case bytes.HasSuffix(m.name, []byte("_ref")):
		b.ref(m)
	default:
		b.open(m)
		b.s.out = b.p.actors.appendNested(b.s.out, m.value)
	}
}

// ref keeps a reference that can lead somewhere; without one the member goes, since STIX has no null.
func (b *builder) ref(m member) {
	if !isString(m.value) {
		return
	}
	id := b.p.actors.mapID(b.s.plain[:0], unquote(m.value))
	if !b.s.refs.add(id, string(m.name)) {
		return
	}
	b.open(m)
	b.s.out = appendID(b.s.out, m.value, id)
}

// refList keeps the references of a list that can lead somewhere, each once. A list of markings that has none left goes: see
// write.
func (b *builder) refList(m member) {
	name := string(m.name)
	if name == markingKey && isString(m.value) {
		b.begin(m)
		b.s.refs.beginList()
		b.refElement(m.value, name, nil)
		b.endOrDrop()
		return
	}
	if !isList(m.value) {
		return
	}
	b.begin(m)
	b.s.refs.beginList()
	subject := b.subject(name)
	for e := range elements(m.value) {
		b.refElement(e, name, subject)
	}
	if name == markingKey {
		b.endOrDrop()
		return
	}
	b.s.out = append(b.s.out, ']')
}

// refElement keeps one of the references of a list; it must not be subject.
func (b *builder) refElement(e []byte, name string, subject []byte) {
	if !isString(e) {
		return
	}
	if name == markingKey {
		e = asMarking(e)
	}
	id := b.p.actors.mapID(nil, unquote(e)) // which is compared with those to come
	if bytes.Equal(id, subject) || !b.s.refs.addToList(id, name) {
		return
	}
	b.s.out = appendID(b.element(), e, id)
}
