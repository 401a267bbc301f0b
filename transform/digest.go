package transform

import (
	"bytes"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/go-json-experiment/json/jsontext"
)

// hasher reads an object in canonical order: names sorted at every depth, strings in one spelling, numbers as they are.
type hasher struct {
	sum xxhash.Digest
	// members is a stack: the members of the objects that are being read, the outermost first.
	members []member
	plain   []byte
	quoted  []byte
}

// digest hashes what an object says. Author and marking do not count, nor do labels: the source leaves them off and puts
// them on between copies of one version. converted says that the object may have been a threat actor: then neither does
// threat_actor_types, which its copy as an intrusion set does not have.
func (h *hasher) digest(text []byte, converted bool) uint64 {
	h.sum.Reset()
	h.members = h.members[:0]
	h.object(text, func(name []byte) bool {
		switch string(name) {
		case authorKey, markingKey, "labels":
			return true
		case "threat_actor_types":
			return converted
		}
		return false
	})
	return h.sum.Sum64()
}

func (h *hasher) object(text []byte, skip func(name []byte) bool) {
	from := len(h.members)
	h.members, _ = appendMembers(h.members, text)
	to := len(h.members)
	slices.SortFunc(h.members[from:to], func(a, b member) int { return bytes.Compare(a.name, b.name) })
	h.write("{")
	for i := from; i < to; i++ {
		m := h.members[i]
		if skip != nil && skip(m.name) {
			continue
		}
		h.string(m.quoted)
		h.write(":")
		h.value(m.value)
		h.write(",")
	}
	h.write("}")
	h.members = h.members[:from]
}

func (h *hasher) value(v []byte) {
	switch v[0] {
	case '"':
		h.string(v)
	case '{':
		h.object(v, nil)
	case '[':
		h.write("[")
		for i := 1; i < len(v) && v[i] != ']'; {
			end := skipValue(v, i)
			if end <= i {
				break
			}
			h.value(v[i:end])
			h.write(",")
			i = end
			if i < len(v) && v[i] == ',' {
				i++
			}
		}
		h.write("]")
	default:
		_, _ = h.sum.Write(v)
	}
}

func (h *hasher) string(quoted []byte) {
	if bytes.IndexByte(quoted, '\\') >= 0 {
		h.plain, _ = jsontext.AppendUnquote(h.plain[:0], quoted)
		h.quoted = appendQuoted(h.quoted[:0], h.plain)
		quoted = h.quoted
	}
	_, _ = h.sum.Write(quoted)
}

func (h *hasher) write(s string) { _, _ = h.sum.WriteString(s) }
