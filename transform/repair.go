package transform

import (
	"bytes"
	"slices"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// repaired is a value in which every name stands once, at its first place with its last value, and every string is Unicode. The
// value is compact JSON but for that.
func repaired(value []byte) []byte {
	r := repairer{text: value, out: make([]byte, 0, len(value))}
	r.value(0)
	return r.out
}

// repairer reads each byte once, however deep it is nested.
type repairer struct {
	text, out []byte
	// members is a stack: the members of the objects that are being written, the outermost first.
	members []writtenMember
	room    []byte // for the text of an object in which names are repeated
}

// writtenMember is a member in the text that is written: its quoted name begins at from, and its value goes on behind the colon.
type writtenMember struct {
	name                  []byte
	from, nameEnd, at, to int
}

// value writes the value that begins at a place of the text, and returns the place behind it.
func (r *repairer) value(at int) (end int) {
	switch r.text[at] {
	case '"':
		return r.string(at)
	case '{':
		return r.object(at)
	case '[':
		r.out = append(r.out, '[')
		for at++; r.text[at] != ']'; at = r.value(at) {
			if r.text[at] == ',' {
				r.out = append(r.out, ',')
				at++
			}
		}
		r.out = append(r.out, ']')
		return at + 1
	}
	end = skipValue(r.text, at)
	r.out = append(r.out, r.text[at:end]...)
	return end
}

func (r *repairer) string(at int) (end int) {
	end = skipString(r.text, at)
	quoted := r.text[at:end]
	if bytes.IndexByte(quoted, '\\') >= 0 || !utf8.Valid(quoted) {
		if plain, err := jsontext.AppendUnquote(nil, quoted); err != nil {
			r.out = appendQuoted(r.out, plain)
			return end
		}
	}
	r.out = append(r.out, quoted...)
	return end
}

func (r *repairer) object(at int) (end int) {
	base, start := len(r.members), len(r.out)
	var places placesByName
	repeats := false
	r.out = append(r.out, '{')
	for at++; r.text[at] != '}'; {
		if r.text[at] == ',' {
			r.out = append(r.out, ',')
			at++
		}
		m := writtenMember{from: len(r.out)}
		nameEnd := r.string(at)
		m.name = unquote(r.text[at:nameEnd])
		m.nameEnd = len(r.out)
		r.out = append(r.out, ':')
		m.at = len(r.out)
		at = r.value(nameEnd + 1)
		m.to = len(r.out)
		if first, again := places.find(r.members[base:], m.name); again {
			r.members[base+first].at, r.members[base+first].to, repeats = m.at, m.to, true
			continue
		}
		r.members = append(r.members, m)
	}
	if repeats {
		r.rewrite(start+1, r.members[base:])
	}
	r.out = append(r.out, '}')
	r.members = r.members[:base]
	return at + 1
}

// rewrite leaves nothing but some members behind a place of what is written.
func (r *repairer) rewrite(from int, members []writtenMember) {
	r.room = r.room[:0]
	for i, m := range members {
		if i > 0 {
			r.room = append(r.room, ',')
		}
		r.room = append(append(append(r.room, r.out[m.from:m.nameEnd]...), ':'), r.out[m.at:m.to]...)
	}
	r.out = append(r.out[:from], r.room...)
}

// placesByName finds members by their names.
type placesByName map[string]int

// find returns the place of a name among the members, and else takes the next place for it.
func (p *placesByName) find(members []writtenMember, name []byte) (place int, found bool) {
	const few = 16 // are compared sooner than hashed
	if len(members) < few {
		place = slices.IndexFunc(members, func(m writtenMember) bool { return bytes.Equal(m.name, name) })
		return place, place >= 0
	}
	if *p == nil {
		*p = make(placesByName, 2*few)
		for i, m := range members {
			(*p)[string(m.name)] = i
		}
	}
	if place, found = (*p)[string(name)]; !found {
		(*p)[string(name)] = len(members)
	}
	return place, found
}
