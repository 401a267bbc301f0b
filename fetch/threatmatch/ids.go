package threatmatch

import (
	"cmp"
	"strings"
)

// CompareIDs is the order in which items are worked through: numbers by value, before all other ids, those by their
// bytes. It is a total order: two different texts are never equal.
func CompareIDs(a, b string) int {
	na, nb := isNumber(a), isNumber(b)
	switch {
	case na && !nb:
		return -1
	case nb && !na:
		return 1
	case na:
		ta, tb := strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
		return cmp.Or(cmp.Compare(len(ta), len(tb)), strings.Compare(ta, tb), strings.Compare(a, b))
	}
	return strings.Compare(a, b)
}

func isNumber(id string) bool {
	for i := range len(id) {
		if id[i] < '0' || id[i] > '9' {
			return false
		}
	}
	return id != ""
}
