package transform

import (
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// containedKey is the member of a container that lists what it contains.
const containedKey = "object_refs"

// Split divides a container whose text is longer than most bytes into parts that are not, which make it whole again in OpenCTI in
// whatever order they come: there the object_refs of one object add up, and a member that is missing leaves what is there. The
// first part is the object with as many of its object_refs as fit; each other one has what identifies the object, its dates,
// author and markings, for it may be the first to arrive, and the next object_refs. text returns a part's text, newly made.
//
// parts is 0 for what cannot be divided so: it is no container, or what each part has to have is too long itself.
func Split(o pipeline.Object, most int) (parts int, text func(part int) []byte) {
	members, ok := appendMembers(nil, o.JSON)
	if !ok || !knownTypes[o.Type].holds {
		return 0, nil
	}
	var s splitter
	for _, m := range members {
		if string(m.name) == containedKey {
			s.list = m.value
			continue
		}
		s.whole = appendMember(s.whole, m)
		if isRepeated(o.Type, string(m.name)) {
			s.repeated = appendMember(s.repeated, m)
		}
	}
	if !s.cut(most) {
		return 0, nil
	}
	return len(s.cuts), s.text
}

// isRepeated says whether each part has a member.
func isRepeated(typ, name string) bool {
	switch name {
	case "created", "modified", "confidence", authorKey, markingKey:
		return true
	}
	return identifies(typ, name)
}

func appendMember(dst []byte, m member) []byte {
	return append(append(append(append(dst, m.quoted...), ':'), m.value...), ',')
}

// splitter is a container to be divided.
type splitter struct {
	whole, repeated []byte // the members of the first part and of all others but the list, a comma behind each
	list            []byte // the text of the object_refs
	cuts            [][2]int
}

// around is what a part has beside its members and elements.
const around = `{"` + containedKey + `":[]}`

// cut finds out which elements each part has; false says that it cannot be.
func (s *splitter) cut(most int) bool {
	if len(s.list) == 0 || s.list[0] != '[' {
		return false
	}
	room := most - len(around) - len(s.whole)
	start, end := 0, 0 // of the part under way
	for at := 1; at < len(s.list) && s.list[at] != ']'; {
		next := skipValue(s.list, at)
		if next <= at {
			return false
		}
		if start > 0 && next-start > room {
			s.cuts = append(s.cuts, [2]int{start, end})
			start, room = 0, most-len(around)-len(s.repeated)
		}
		if start == 0 {
			start = at
		}
		if next-start > room {
			return false
		}
		if end, at = next, next; s.list[at] == ',' {
			at++
		}
	}
	if start == 0 {
		return false // without any the object is no longer than it has to be
	}
	s.cuts = append(s.cuts, [2]int{start, end})
	return true
}

func (s *splitter) text(part int) []byte {
	members, cut := s.repeated, s.cuts[part]
	if part == 0 {
		members = s.whole
	}
	out := make([]byte, 0, len(around)+len(members)+cut[1]-cut[0])
	out = append(append(out, '{'), members...)
	out = append(out, `"`+containedKey+`":[`...)
	return append(append(out, s.list[cut[0]:cut[1]]...), `]}`...)
}
