package transform

import (
	"bytes"
)

const (
	threatActor  = "threat-actor"
	intrusionSet = "intrusion-set"
)

// actors says whether threat actors become intrusion sets.
type actors bool

// mapType returns the type that an object has on the other side.
func (a actors) mapType(name string) string {
	if bool(a) && name == threatActor {
		return intrusionSet
	}
	return name
}

// mapID returns the id that an object has on the other side: itself, or another one in the room behind dst.
func (a actors) mapID(dst, id []byte) []byte {
	if !bool(a) || !bytes.HasPrefix(id, []byte(threatActor+"--")) {
		return id
	}
	for rest, found := id, true; found; {
		var before []byte
		if before, rest, found = bytes.Cut(rest, []byte(threatActor)); found {
			dst = append(append(dst, before...), intrusionSet...)
		} else {
			dst = append(dst, before...)
		}
	}
	return dst
}

// appendID appends the id that a quoted one was mapped to; an id that stays itself keeps its spelling.
func appendID(dst, quoted, mapped []byte) []byte {
	if !bytes.HasPrefix(unquote(quoted), []byte(threatActor+"--")) || bytes.HasPrefix(mapped, []byte(threatActor)) {
		return append(dst, quoted...)
	}
	return appendQuoted(dst, mapped)
}

// appendNested appends a value with every reference to a threat actor in it rewritten, however deep.
func (a actors) appendNested(dst, value []byte) []byte {
	if !bool(a) || (value[0] != '{' && value[0] != '[') || !bytes.Contains(value, []byte(threatActor)) {
		return append(dst, value...)
	}
	return a.appendRewritten(dst, value, false)
}

// appendRewritten rewrites ids where isRef says that the value stands under the name of a reference.
func (a actors) appendRewritten(dst, value []byte, isRef bool) []byte {
	switch value[0] {
	case '"':
		if isRef {
			return appendID(dst, value, a.mapID(nil, unquote(value)))
		}
	case '[':
		dst = append(dst, '[')
		start := len(dst)
		for e := range elements(value) {
			if len(dst) > start {
				dst = append(dst, ',')
			}
			dst = a.appendRewritten(dst, e, isRef)
		}
		return append(dst, ']')
	case '{':
		members, _ := appendMembers(nil, value)
		dst = append(dst, '{')
		for i, m := range members {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(append(dst, m.quoted...), ':')
			named := bytes.HasSuffix(m.name, []byte("_ref")) || bytes.HasSuffix(m.name, []byte("_refs"))
			dst = a.appendRewritten(dst, m.value, named)
		}
		return append(dst, '}')
	}
	return append(dst, value...)
}
