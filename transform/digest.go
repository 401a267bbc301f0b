package transform

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// canonicalLevels is how deep names are sorted. STIX has some ten levels; each costs a walk over all that lies deeper, so what is
// nested further counts as it stands.
const canonicalLevels = 16

// hasher reads an object in canonical order: names sorted, strings in one spelling, numbers as they are.
type hasher struct {
	sum xxhash.Digest
	// members is a stack: the members of the objects that are being read, the outermost first.
	members []member
	plain   []byte
	quoted  []byte
}

// digest hashes what an object says. Author, markings, labels and external references do not count: the source leaves them
// off and puts them on between copies of one version, see [pipeline.Stated]. converted says that the object may have been a threat actor: then neither does
// threat_actor_types, which its copy as an intrusion set does not have.
func (h *hasher) digest(text []byte, converted bool) uint64 {
	h.sum.Reset()
	h.members = h.members[:0]
	h.object(text, canonicalLevels, func(name []byte) bool {
		switch string(name) {
		case authorKey, markingKey, "labels", "external_references":
			return true
		case "threat_actor_types":
			return converted
		}
		return false
	})
	return h.sum.Sum64()
}

func (h *hasher) object(text []byte, levels int, skip func(name []byte) bool) {
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
		h.value(m.value, levels-1)
		h.write(",")
	}
	h.write("}")
	h.members = h.members[:from]
}

func (h *hasher) value(v []byte, levels int) {
	switch {
	case v[0] == '"':
		h.string(v)
	case v[0] == '{' && levels > 0:
		h.object(v, levels, nil)
	case v[0] == '[' && levels > 0:
		h.write("[")
		for i := 1; i < len(v) && v[i] != ']'; {
			end := skipValue(v, i)
			if end <= i {
				break
			}
			h.value(v[i:end], levels-1)
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

// stated tells what a finished text states beside its content. authored and marked say that author and marking are the
// source's: what the mapping adds where the source has none does not count.
func (h *hasher) stated(text []byte, authored, marked bool) (s pipeline.Stated) {
	h.members, _ = appendMembers(h.members[:0], text)
	var others, labels, references, name []uint64
	typ := typeOf(h.members)
	for _, m := range h.members {
		switch string(m.name) {
		case authorKey:
			if authored && isString(m.value) {
				s.Author = short(xxhash.Sum64(unquote(m.value)))
			}
		case markingKey:
			if marked {
				s.Level, others = levelOf(m.value)
			}
		case "labels":
			labels = h.appendElementHashes(labels, m)
		case "external_references":
			references = h.appendElementHashes(references, m)
		default:
			if identifies(typ, string(m.name)) {
				name = append(name, h.nameHash(m))
			}
		}
	}
	s.Markings, s.Labels, s.References = hashOfSet(others), hashOfSet(labels), hashOfSet(references)
	s.Name = hashOfSet(name)
	return s
}

// nameHash hashes one of the members that identify an object. A date counts as the moment that it stands for, and what every
// object has beside its name does not count.
func (h *hasher) nameHash(m member) uint64 {
	h.sum.Reset()
	switch string(m.name) {
	case "type", "id", "spec_version":
		return 0
	}
	h.string(m.quoted)
	if at := readTime(m.value); !at.IsZero() {
		h.write(at.UTC().Format(time.RFC3339Nano))
	} else {
		h.value(m.value, canonicalLevels)
	}
	return h.sum.Sum64()
}

func typeOf(members []member) string {
	for _, m := range members {
		if string(m.name) == "type" && isString(m.value) {
			return string(unquote(m.value))
		}
	}
	return ""
}

// levelOf returns how strict the strictest of some markings is, and hashes of those that are no standard ones.
func levelOf(markings []byte) (level uint8, others []uint64) {
	elements, _ := appendElements(nil, markings)
	for _, e := range elements {
		id := unquote(e)
		if standard, is := standardMarkings[string(id)]; is {
			level = max(level, standard.level)
			continue
		}
		level = max(level, levelOther)
		others = append(others, xxhash.Sum64(id))
	}
	return level, others
}

// appendElementHashes appends a hash of what each element of a list means.
func (h *hasher) appendElementHashes(dst []uint64, m member) []uint64 {
	elements, _ := appendElements(nil, m.value)
	for _, e := range elements {
		h.sum.Reset()
		h.value(e, canonicalLevels)
		dst = append(dst, h.sum.Sum64())
	}
	return dst
}

// hashOfSet hashes what is in a set, however often and in whatever order; 0 is the hash of nothing.
func hashOfSet(set []uint64) uint32 {
	if len(set) == 0 {
		return 0
	}
	slices.Sort(set)
	var sum xxhash.Digest
	sum.Reset()
	for _, one := range slices.Compact(set) {
		_, _ = sum.Write(binary.LittleEndian.AppendUint64(nil, one))
	}
	return short(sum.Sum64())
}

// short truncates a hash; it is never 0, which stands for nothing.
func short(sum uint64) uint32 { return max(uint32(sum), 1) }
