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
	sum  xxhash.Digest
	long bool     // says that sum has the beginning of the text
	text []byte   // what is still to be added to the sum
	top  []member // of a text that is read by itself
	// members and order are stacks: the members of the nested objects that are being read, the outermost first, and the order of those
	// of all.
	members []member
	order   []ordered
	plain   []byte
	// set and names are hashes of what makes up a set.
	set, names []uint64
}

// mostText is how much text is collected before it is added to the sum.
const mostText = 32 << 10

// digest hashes what an object says. Author, markings, labels and external references do not count: the source leaves them
// off and puts them on between copies of one version, see [pipeline.Stated]. converted says that the object may have been a threat actor: then neither does
// threat_actor_types, which its copy as an intrusion set does not have.
func (h *hasher) digest(text []byte, converted bool) uint64 {
	h.top, _ = appendMembers(h.top[:0], text)
	return h.digestOf(h.top, converted)
}

// digestOf is digest of an object's members.
func (h *hasher) digestOf(members []member, converted bool) uint64 {
	h.begin()
	h.object(members, canonicalLevels, func(name []byte) bool {
		switch string(name) {
		case authorKey, markingKey, "labels", "external_references":
			return true
		case "threat_actor_types":
			return converted
		}
		return false
	})
	return h.end()
}

func (h *hasher) begin() {
	h.long = false
	h.text, h.members, h.order = h.text[:0], h.members[:0], h.order[:0]
}

func (h *hasher) end() uint64 {
	if !h.long {
		return xxhash.Sum64(h.text)
	}
	_, _ = h.sum.Write(h.text)
	return h.sum.Sum64()
}

// object reads an object's members.
func (h *hasher) object(members []member, levels int, skip func(name []byte) bool) {
	first := len(h.order)
	h.order = appendOrder(h.order, members)
	h.text = append(h.text, '{')
	for i := range members {
		m := &members[h.order[first+i].place]
		if skip != nil && skip(m.name) {
			continue
		}
		h.string(m.quoted)
		h.text = append(h.text, ':')
		if m.canonical {
			h.text = append(h.text, m.value...)
		} else {
			h.value(m.value, levels-1)
		}
		h.text = append(h.text, ',')
		if len(h.text) > mostText {
			h.flush()
		}
	}
	h.text = append(h.text, '}')
	h.order = h.order[:first]
}

func (h *hasher) flush() {
	if !h.long {
		h.long = true
		h.sum.Reset()
	}
	_, _ = h.sum.Write(h.text)
	h.text = h.text[:0]
}

func (h *hasher) value(v []byte, levels int) {
	switch {
	case v[0] == '"':
		h.string(v)
	case v[0] == '{' && levels > 0:
		from := len(h.members)
		h.members, _ = appendMembers(h.members, v)
		h.object(h.members[from:], levels, nil)
		h.members = h.members[:from]
	case v[0] == '[' && levels > 0:
		h.text = append(h.text, '[')
		for e := range elements(v) {
			h.value(e, levels-1)
			h.text = append(h.text, ',')
		}
		h.text = append(h.text, ']')
	default:
		h.text = append(h.text, v...)
	}
}

func (h *hasher) string(quoted []byte) {
	if bytes.IndexByte(quoted, '\\') < 0 {
		h.text = append(h.text, quoted...)
		return
	}
	h.plain, _ = jsontext.AppendUnquote(h.plain[:0], quoted)
	h.text = appendQuoted(h.text, h.plain)
}

// stated tells what a finished text states beside its content. authored and marked say that author and marking are the
// source's: what the mapping adds where the source has none does not count.
func (h *hasher) stated(text []byte, authored, marked bool) pipeline.Stated {
	h.top, _ = appendMembers(h.top[:0], text)
	return h.statedOf(h.top, authored, marked)
}

// statedOf is stated of an object's members.
func (h *hasher) statedOf(members []member, authored, marked bool) (s pipeline.Stated) {
	h.names = h.names[:0]
	own := identifiedBy(typeOf(members))
	for _, m := range members {
		switch string(m.name) {
		case authorKey:
			if authored && isString(m.value) {
				s.Author = short(xxhash.Sum64(unquote(m.value)))
			}
		case markingKey:
			if marked {
				s.Level, s.Markings = h.levelOf(m.value)
			}
		case "labels":
			s.Labels = h.hashOfElements(m.value)
		case "external_references":
			s.References = h.hashOfElements(m.value)
		default:
			if isCommon(string(m.name)) || slices.Contains(own, string(m.name)) {
				h.names = append(h.names, h.nameHash(m))
			}
		}
	}
	s.Name = h.hashOfSet(h.names)
	return s
}

// nameHash hashes one of the members that identify an object. A date counts as the moment that it stands for, and what every
// object has beside its name does not count.
func (h *hasher) nameHash(m member) uint64 {
	if isCommon(string(m.name)) {
		return 0
	}
	h.begin()
	h.string(m.quoted)
	if moment, ok := plainMoment(m.value); ok {
		h.text = append(append(h.text, moment...), 'Z')
	} else if at := readTime(m.value); !at.IsZero() {
		h.text = at.UTC().AppendFormat(h.text, time.RFC3339Nano)
	} else {
		h.value(m.value, canonicalLevels)
	}
	return h.end()
}

func typeOf(members []member) []byte {
	for _, m := range members {
		if string(m.name) == "type" && isString(m.value) {
			return unquote(m.value)
		}
	}
	return nil
}

// levelOf returns how strict the strictest of some markings is, and a hash of those that are no standard ones.
func (h *hasher) levelOf(markings []byte) (level uint8, others uint32) {
	h.set = h.set[:0]
	for e := range elements(markings) {
		id := unquote(e)
		if standard, is := standardMarkings[string(id)]; is {
			level = max(level, standard.level)
			continue
		}
		level = max(level, levelOther)
		h.set = append(h.set, xxhash.Sum64(id))
	}
	return level, h.hashOfSet(h.set)
}

// hashOfElements hashes what the elements of a list mean, as a set.
func (h *hasher) hashOfElements(list []byte) uint32 {
	h.set = h.set[:0]
	for e := range elements(list) {
		h.begin()
		h.value(e, canonicalLevels)
		h.set = append(h.set, h.end())
	}
	return h.hashOfSet(h.set)
}

// hashOfSet hashes what is in a set, however often and in whatever order; 0 is the hash of nothing.
func (h *hasher) hashOfSet(set []uint64) uint32 {
	if len(set) == 0 {
		return 0
	}
	slices.Sort(set)
	h.begin()
	for _, one := range slices.Compact(set) {
		h.text = binary.LittleEndian.AppendUint64(h.text, one)
	}
	return short(h.end())
}

// short truncates a hash; it is never 0, which stands for nothing.
func short(sum uint64) uint32 { return max(uint32(sum), 1) }
