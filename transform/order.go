package transform

import (
	"bytes"
	"cmp"
	"slices"
)

// ordered is the place of a member among those of an object that are in order of their names.
type ordered struct {
	prefix uint64 // the first bytes of the name, which mostly tell
	name   []byte
	place  int32
}

// appendOrder appends the places of members in the order of their names.
func appendOrder(dst []ordered, members []member) []ordered {
	from := len(dst)
	for i, m := range members {
		dst = append(dst, ordered{prefix: prefixOf(m.name), name: m.name, place: int32(i)})
	}
	slices.SortFunc(dst[from:], func(a, b ordered) int {
		if a.prefix != b.prefix {
			return cmp.Compare(a.prefix, b.prefix)
		}
		return bytes.Compare(a.name, b.name)
	})
	return dst
}

// prefixOf returns the first bytes of a name as a number, in the order of which names are.
func prefixOf(name []byte) (prefix uint64) {
	for i := range 8 {
		prefix <<= 8
		if i < len(name) {
			prefix |= uint64(name[i])
		}
	}
	return prefix
}
