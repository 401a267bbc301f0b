package transform

import (
	"bytes"
	"cmp"
	"crypto/sha1"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/transform/relations"
)

// claim is what one object says of others in members that OpenCTI does not read that way, and takes as objects of their own.
type claim struct {
	source pipeline.Object
	// techniques are those that its labels name.
	techniques []technique
	// listed are the ids in the object_refs of what is no container.
	listed []string
	// observed are the observables that an indicator's pattern tells of, and score is theirs, as JSON, "" for none.
	observed []observation
	score    string
}

func (c *claim) isEmpty() bool {
	return len(c.techniques) == 0 && len(c.listed) == 0 && len(c.observed) == 0
}

// mayList says that the object_refs of a type name its indicators and what else belongs to it. On other types that are no
// containers nothing is known of what they mean.
func mayList(typ string) bool {
	switch typ {
	case threatActor, intrusionSet, "campaign", "malware", "tool", "attack-pattern":
		return true
	}
	return false
}

// listed notes the ids in the object_refs of what is no container.
func (b *builder) listed(m member) {
	if !mayList(b.o.Type) {
		return
	}
	for e := range elements(m.value) {
		if !isString(e) {
			continue
		}
		id := string(b.p.actors.mapID(b.s.plain[:0], unquote(e)))
		if id != b.o.ID && id != b.o.AltID && mayBeEnd(id) {
			b.s.claim.listed = append(b.s.claim.listed, id)
		}
	}
}

// mayBeEnd says whether an id is of something that can be an end of a relation between two entities.
func mayBeEnd(id string) bool {
	typ, _, isSTIX := strings.Cut(id, "--")
	if !isSTIX || !mayRefer(id) {
		return false
	}
	switch typ {
	case "relationship", "sighting", "marking-definition", "external-reference", "kill-chain-phase", "label", "vocabulary":
		return false
	}
	return true
}

// relationKey is what OpenCTI tells relations apart by.
type relationKey struct{ typ, source, target string }

// relationOf reads a relation from a mapped object.
func (s *scratch) relationOf(o pipeline.Object) (r relationKey) {
	s.inner, _ = appendMembers(s.inner[:0], o.JSON)
	for _, m := range s.inner {
		if !isString(m.value) {
			continue
		}
		switch string(m.name) {
		case "relationship_type":
			r.typ = s.strings.of(unquote(m.value))
		case "source_ref":
			r.source = s.strings.of(unquote(m.value))
		case "target_ref":
			r.target = s.strings.of(unquote(m.value))
		}
	}
	return r
}

// ends returns the ends of a relation, whichever of them is the source.
func (r relationKey) ends() [2]string {
	return [2]string{min(r.source, r.target), max(r.source, r.target)}
}

// mostDerived bounds what one item amounts to beyond what it brings, in bytes: an object with many labels and many markings amounts
// to their product. It is enough for 50,000 relations. perDerived and perRef are what each object takes beside its text.
const (
	mostDerived = 48 << 20
	perDerived  = 500
	perRef      = 16
)

// derivation makes the objects that an item's claims amount to. What it makes depends on the claims and on the objects of the
// item, not on their order, up to mostDerived.
type derivation struct {
	scratch *scratch
	// wants says which types are imported.
	wants func(typ string) bool
	// ids and relations are those that the item brings.
	ids       map[string]bool
	relations map[relationKey]bool
	// related are the ends of all relations, derived ones among them; nil where nobody asks.
	related map[[2]string]bool
	// objects are the item's, and behind them the derived ones, of which places tells where they stand and size what they take.
	objects []pipeline.Object
	places  map[string]int
	size    int
	left    int // objects that are not derived any more
}

// link is a relation that may be derived from an object.
type link struct {
	relationKey
	from *origin
}

// derived is derive, of which a panic costs what is derived from the item.
func (p *mapping) derived(s *scratch, objects []pipeline.Object, claims []claim) (all []pipeline.Object, left int, broken pipeline.Broken) {
	if broken = pipeline.Catch(func() { all, left = p.derive(s, objects, claims) }); broken != nil {
		s.startAnew()
		return objects, 0, broken
	}
	return all, left, nil
}

// derive appends what the claims amount to to an item's objects. It ends early with the context of the scratch. left is how many
// objects are not derived because they would be too much.
func (p *mapping) derive(s *scratch, objects []pipeline.Object, claims []claim) (all []pipeline.Object, left int) {
	if len(claims) == 0 {
		return objects, 0
	}
	d := derivation{
		scratch: s, wants: p.wantsDerived, ids: make(map[string]bool, len(objects)), relations: make(map[relationKey]bool),
		objects: objects, places: make(map[string]int),
	}
	if slices.ContainsFunc(claims, claim.listsOthers) {
		d.related = make(map[[2]string]bool)
	}
	for _, o := range objects {
		d.ids[o.ID] = true
		if o.Type == "relationship" {
			r := s.relationOf(o)
			d.relations[r] = true
			d.note(r)
		}
	}
	var loose []link
	for _, c := range claims {
		from := newOrigin(c.source, s)
		for _, t := range c.techniques {
			d.attach(from, "attack-pattern", func() pipeline.Object { return from.attackPattern(t) }, relationToTechnique(c.source.Type), c.source.ID)
		}
		for _, seen := range c.observed {
			d.attach(from, seen.typ, func() pipeline.Object { return from.observable(seen, c.score) }, "based-on", c.source.ID)
		}
		for _, id := range c.listed {
			if isIndicator(id) {
				d.relate(link{relationKey{"indicates", id, c.source.ID}, from})
			} else {
				loose = append(loose, link{relationKey{relations.RelatedTo, c.source.ID, id}, from})
			}
		}
	}
	// Two objects may list each other: then the same one of them counts, wherever they stand.
	slices.SortFunc(loose, func(a, b link) int {
		return cmp.Or(strings.Compare(a.source, b.source), strings.Compare(a.target, b.target))
	})
	for _, l := range loose {
		if _, again := d.places[l.id()]; again || !d.related[l.ends()] {
			d.relate(l)
		}
	}
	return d.objects, d.left
}

func isIndicator(id string) bool { return strings.HasPrefix(id, "indicator--") }

// listsOthers says whether there is more than indicators in the object_refs.
func (c claim) listsOthers() bool {
	return slices.ContainsFunc(c.listed, func(id string) bool { return !isIndicator(id) })
}

// attach derives an object and a relation from the source to it, if its type is imported.
func (d *derivation) attach(from *origin, typ string, derived func() pipeline.Object, relation, source string) {
	switch {
	case !d.wants(typ):
		return
	case d.isOver():
		if d.wants("relationship") {
			d.isOver() // the relation is missing as well, and counts
		}
		return
	}
	o := derived()
	d.put(o)
	d.relate(link{relationKey{relation, source, o.ID}, from})
}

// relate derives a relation, unless the item brings one of this type between these ends.
func (d *derivation) relate(l link) {
	if d.relations[l.relationKey] || !d.wants("relationship") || d.isOver() {
		return
	}
	d.note(l.relationKey)
	d.put(l.from.relationship(l.relationKey))
}

// note takes note of what is related.
func (d *derivation) note(r relationKey) {
	if d.related != nil {
		d.related[r.ends()] = true
	}
}

// isOver says whether no more is to be derived, and counts the object that would have been if that is for its size.
func (d *derivation) isOver() bool {
	if d.size > mostDerived {
		d.left++
		return true
	}
	return d.scratch.ctx.Err() != nil
}

// put takes up a derived object, unless the item brings one with its id, which says more. Of several with one id that one stays
// which is marked most strictly, and has an author; else the text decides, for something has to.
func (d *derivation) put(o pipeline.Object) {
	if d.ids[o.ID] {
		return
	}
	o.Digest = d.scratch.hash.digest(o.JSON, false)
	at, again := d.places[o.ID]
	switch {
	case !again:
		d.places[o.ID] = len(d.objects)
		d.objects = append(d.objects, o)
		d.size += sizeOf(o)
	case compareDerived(o, d.objects[at]) > 0:
		d.size += sizeOf(o) - sizeOf(d.objects[at])
		d.objects[at] = o
	}
}

// sizeOf is what a derived object takes.
func sizeOf(o pipeline.Object) int { return len(o.JSON) + len(o.Refs)*perRef + perDerived }

func compareDerived(a, b pipeline.Object) int {
	return cmp.Or(
		cmp.Compare(a.Stated.Level, b.Stated.Level),
		cmp.Compare(min(a.Stated.Author, 1), min(b.Stated.Author, 1)),
		bytes.Compare(a.JSON, b.JSON))
}

// origin is what a derived object takes over from the object that it was derived from.
type origin struct {
	stated pipeline.Stated
	hash   *hasher // of whoever derives
	// members hold author and markings, each behind a comma, and refs are their ids.
	members []byte
	refs    []string
}

func newOrigin(source pipeline.Object, s *scratch) *origin {
	from := &origin{stated: source.Stated, hash: &s.hash}
	var all refSet
	s.inner, _ = appendMembers(s.inner[:0], source.JSON)
	for _, name := range [...]string{authorKey, markingKey} {
		for _, m := range s.inner {
			if string(m.name) == name && !isNull(m.value) {
				from.members = append(append(from.members, `,"`+name+`":`...), m.value...)
				all.addAllOf(m)
			}
		}
	}
	from.refs = slices.Clip(all.ids)
	return from
}

// object makes an object of the members that are its own, of which refs are those that refer to something.
func (from *origin) object(typ, id, members string, refs ...string) pipeline.Object {
	all := from.refs // shared as long as nothing is to be added
	if len(refs) > 0 || slices.Contains(all, id) {
		all = append(make([]string, 0, len(refs)+len(from.refs)), refs...)
		for _, ref := range from.refs {
			if ref != id && !slices.Contains(refs, ref) {
				all = append(all, ref)
			}
		}
	}
	text := make([]byte, 0, len(members)+len(from.members)+len(typ)+len(id)+len(`{"type":"","spec_version":"2.1","id":""}`))
	text = append(append(append(text, `{"type":"`...), typ...), `","spec_version":"2.1","id":"`...)
	text = append(append(append(append(text, id...), '"'), members...), from.members...)
	text = append(text, '}')
	stated, own := from.stated, from.hash.stated(text, false, false)
	stated.Labels, stated.References, stated.Name = 0, own.References, own.Name
	return pipeline.Object{ID: id, Type: typ, Refs: all, Stated: stated, JSON: text}
}

// attackPattern makes the attack pattern that a label names: nothing but what the label says. Whoever has more to say of the
// technique must not be overwritten, so it is a weak one.
func (from *origin) attackPattern(t technique) pipeline.Object {
	quoted := quote(t.id)
	id := deterministicID("attack-pattern", `{"x_mitre_id":`+quote(strings.ToLower(t.id))+`}`)
	o := from.object("attack-pattern", id, `,"name":`+quote(t.name)+`,"x_mitre_id":`+quoted+
		`,"external_references":[{"source_name":"mitre-attack","external_id":`+quoted+`}]`)
	o.Weak = true
	return o
}

// relationship makes a relation. It has no dates: nobody knows since when it is so, and the dates of its origin would send it
// again whenever that changes.
func (from *origin) relationship(r relationKey) pipeline.Object {
	return from.object("relationship", r.id(), ","+r.members(), r.source, r.target)
}

// id returns the id that OpenCTI's Python client derives for a relation without dates.
func (r relationKey) id() string { return deterministicID("relationship", "{"+r.members()+"}") }

// members are those that tell it from others, in the order of RFC 8785.
func (r relationKey) members() string {
	var room [256]byte
	text := appendQuoted(append(room[:0], `"relationship_type":`...), r.typ)
	text = appendQuoted(append(text, `,"source_ref":`...), r.source)
	return string(appendQuoted(append(text, `,"target_ref":`...), r.target))
}

func quote(s string) string {
	if isPlainID(s) {
		return `"` + s + `"`
	}
	return string(appendQuoted(nil, s))
}

// stixNamespace is the one that STIX 2.1 and OpenCTI derive ids in.
var stixNamespace = uuid.MustParse("00abedb4-aa42-466c-9c01-fed23315a9b7")

// deterministicID derives the id of an object as OpenCTI does it, from the canonical JSON (RFC 8785) of what identifies it.
func deterministicID(typ, canonical string) string {
	var room [256]byte
	sum := sha1.Sum(append(append(room[:0], stixNamespace[:]...), canonical...))
	id := uuid.UUID(sum[:16])
	id[6], id[8] = id[6]&0x0f|0x50, id[8]&0x3f|0x80 // version 5 of RFC 9562
	return typ + "--" + id.String()
}
