package transform

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
)

// ordered is the place of a member among those of an object that are in order of their names.
type ordered struct {
	prefix uint64 // the first bytes of the name, which mostly tell
	place  int32
}

// appendOrder appends the places of members in the order of their names.
func appendOrder(dst []ordered, members []member) []ordered {
	from := len(dst)
	for i, m := range members {
		dst = append(dst, ordered{prefixOf(m.name), int32(i)})
	}
	order := dst[from:]
	byName := func(a, b ordered) int { return bytes.Compare(members[a.place].name, members[b.place].name) }
	if len(order) > 64 {
		slices.SortFunc(order, func(a, b ordered) int {
			if a.prefix != b.prefix {
				return cmp.Compare(a.prefix, b.prefix)
			}
			return byName(a, b)
		})
		return dst
	}
	for i := 1; i < len(order); i++ {
		one, at := order[i], i
		for ; at > 0; at-- {
			if before := order[at-1]; one.prefix > before.prefix || one.prefix == before.prefix && byName(one, before) >= 0 {
				break
			}
			order[at] = order[at-1]
		}
		order[at] = one
	}
	return dst
}

// prefixOf returns the first bytes of a name as a number, in the order of which names are.
func prefixOf(name []byte) uint64 {
	if len(name) >= 8 {
		return binary.BigEndian.Uint64(name)
	}
	var first [8]byte
	copy(first[:], name)
	return binary.BigEndian.Uint64(first[:])
}
