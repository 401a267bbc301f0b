package transform

import (
	"bytes"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// WithoutRefs returns the object without the references that drop names: a list loses those elements, a single reference
// its member. It asks drop once for each of the object's references. An object that loses its last marking gets the one of
// [Config.TLP] in its place, whatever drop says of that: nothing is sent without a marking.
//
// ok is false when what is left must not be sent: a relationship without one of its ends, a sighting without its subject or
// without any place, an addition (see [Addition]) without what it adds or without anything that identifies its object.
//
// The Digest stays: it tells which content of the source the object was made from, whatever was taken off it. An author or a marking
// that went is not stated any more.
func (t *Transformer) WithoutRefs(o pipeline.Object, drop func(ref string) bool) (result pipeline.Object, ok bool) {
	gone := make(map[string]bool)
	for _, ref := range o.Refs {
		if drop(ref) {
			gone[ref] = true
		}
	}
	if len(gone) == 0 {
		return o, true
	}
	members, valid := appendMembers(nil, o.JSON)
	if !valid {
		return o, false
	}
	c := cutter{gone: gone, out: append(make([]byte, 0, len(o.JSON)), '{')}
	id, adds := additionTo(o)
	if adds {
		c.left.reset(id, "")
	} else {
		c.left.reset(o.ID, o.AltID)
		c.marking = t.mapping.marking.ID
	}
	for _, m := range members {
		c.member(m)
	}
	o.JSON, o.Refs = append(c.out, '}'), c.left.ids
	if c.authorGone {
		o.Stated.Author = 0
	}
	if c.markingGone {
		o.Stated.Markings = 0
	}
	if adds {
		o.Refs = append([]string{id}, o.Refs...)
		return o, !c.identityGone && !gone[id] && addsAnything(o.JSON)
	}
	return o, missingEnd(o.Type, &c.left).why == ""
}

// cutter writes an object anew without some references.
type cutter struct {
	gone map[string]bool
	// marking takes the place of the markings when the last of them goes; "" for none.
	marking    string
	out        []byte
	left       refSet
	authorGone bool
	// markingGone says so of a marking, which is none of the standard ones: these are always there.
	markingGone bool
	// identityGone says that a reference went that is neither the author nor a marking.
	identityGone bool
}

func (c *cutter) member(m member) {
	at := len(c.out)
	if at > 1 {
		c.out = append(c.out, ',')
	}
	c.out = append(append(c.out, m.quoted...), ':')
	switch {
	case bytes.HasSuffix(m.name, []byte("_refs")):
		if !c.list(m) {
			c.out = c.out[:at]
		}
	case bytes.HasSuffix(m.name, []byte("_ref")) && isString(m.value) && c.gone[string(unquote(m.value))]:
		c.authorGone = c.authorGone || string(m.name) == authorKey
		c.identityGone = c.identityGone || string(m.name) != authorKey
		c.out = c.out[:at]
	default:
		c.out = append(c.out, m.value...)
		c.left.addAllOf(m)
	}
}

// list appends a list of references without those that are gone; false says that nothing is to stand there.
func (c *cutter) list(m member) bool {
	if !isList(m.value) {
		c.out = append(c.out, m.value...)
		return true
	}
	key := string(m.name)
	start, lost := len(c.out), false
	c.out = append(c.out, '[')
	add := func(quoted []byte) {
		if len(c.out) > start+1 {
			c.out = append(c.out, ',')
		}
		c.out = append(c.out, quoted...)
		if isString(quoted) {
			c.left.add(unquote(quoted), key)
		}
	}
	for e := range elements(m.value) {
		if isString(e) && c.gone[string(unquote(e))] {
			lost = true
			continue
		}
		add(e)
	}
	c.markingGone = c.markingGone || lost && key == markingKey
	c.identityGone = c.identityGone || lost && key != markingKey
	if lost && key == markingKey && len(c.out) == start+1 {
		if c.marking == "" {
			return false
		}
		add(appendQuoted(nil, c.marking))
	}
	c.out = append(c.out, ']')
	return true
}
