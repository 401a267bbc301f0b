package transform

import (
	"bytes"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/transform/description"
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

// object maps one object. reason says why it is left out; the object then has at most its id.
func (t *Transformer) object(s *scratch, text []byte) (o pipeline.Object, reason string) {
	var ok bool
	if s.members, ok = appendMembers(s.members[:0], text); !ok {
		return o, "is not an object"
	}
	if reason := t.head(s.members, &o); reason != "" {
		return o, reason
	}
	b := builder{t: t, s: s, o: &o}
	s.refs.reset(o.ID, o.AltID)
	b.write()
	if reason := missingEnd(o.Type, &s.refs); reason != "" {
		return pipeline.Object{ID: o.ID}, reason
	}
	o.JSON = bytes.Clone(s.out)
	o.Refs = s.refs.list()
	o.Digest = s.digest(o.JSON, t.config.ThreatActorAsIntrusionSet && o.Type == "intrusion-set")
	return o, ""
}

// head reads what identifies an object, and says what makes it impossible to send.
func (t *Transformer) head(members []member, o *pipeline.Object) (reason string) {
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
			o.Modified = parseTime(m.value)
		case "x_opencti_id":
			if isString(m.value) {
				o.AltID = string(unquote(m.value))
			}
		}
	}
	if isString(id) {
		o.ID = string(t.mapID(unquote(id)))
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
	name, known := knownTypes[string(unquote(typ))]
	if !known || !mayRefer([]byte(o.ID)) {
		return "is of a type that OpenCTI does not know"
	}
	if t.config.ThreatActorAsIntrusionSet && name == threatActor {
		name = intrusionSet
	}
	o.Type = name
	return ""
}

// parseTime reads a timestamp, zero when it is none.
func parseTime(value []byte) time.Time {
	if !isString(value) {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, string(unquote(value)))
	if err != nil {
		return time.Time{}
	}
	return at.UTC()
}

// builder writes the mapped text of one object into its scratch.
type builder struct {
	t *Transformer
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
		s.out = append(s.out, b.t.defaults.author...)
		s.refs.add([]byte(b.t.author.ID), authorKey)
	}
	if !marked {
		b.comma()
		s.out = append(s.out, b.t.defaults.marking...)
		s.refs.add([]byte(b.t.marking.ID), markingKey)
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
		s.out = b.t.appendID(s.out, m.value)
		return
	case "description":
		b.open(m)
		s.out = b.t.appendDescription(s.out, m.value)
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
		if !holdsObjects(b.o.Type) {
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
		s.out = b.t.appendNested(s.out, m.value)
	}
}

// ref keeps a reference that can lead somewhere; without one the member goes, since STIX has no null.
func (b *builder) ref(m member) {
	if !isString(m.value) {
		return
	}
	id := b.t.mapID(unquote(m.value))
	if !b.s.refs.add(id, string(m.name)) {
		return
	}
	b.open(m)
	b.s.out = b.t.appendID(b.s.out, m.value)
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
		if !isString(e) || !s.refs.addToList(b.t.mapID(unquote(e)), name) {
			continue
		}
		if len(s.out) > start {
			s.out = append(s.out, ',')
		}
		s.out = b.t.appendID(s.out, e)
	}
	s.out = append(s.out, ']')
}

// appendDescription appends a description in the configured format, and as it came when that changes nothing.
func (t *Transformer) appendDescription(dst, value []byte) []byte {
	if !isString(value) || t.config.Descriptions == HTML {
		return append(dst, value...)
	}
	plain := string(unquote(value))
	converted := description.Convert(t.config.Descriptions, plain)
	if converted == plain {
		return append(dst, value...)
	}
	return appendQuoted(dst, converted)
}
