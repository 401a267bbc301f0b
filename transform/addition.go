package transform

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// Addition returns what a copy of an object states beside its content, as a message of its own: nothing but what identifies
// the object to OpenCTI, and the parts of what that the copy states. It changes nothing else there, for a member that is
// missing leaves what is there, and labels and references add up. false says that there is nothing to add.
//
// Its ID is that of [AdditionID], so that it has a place of its own beside its object; in its text the id is the object's.
// It refers to its object first of all, then to what its text refers to. Its Digest comes from what its ID comes from.
func Addition(o pipeline.Object, what pipeline.Part) (pipeline.Object, bool) {
	_, adds := additionTo(o)
	what = statedOf(what, o.Stated)
	members, ok := appendMembers(nil, o.JSON)
	if !ok || adds || what == 0 || unmarked(o.Type) {
		return pipeline.Object{}, false
	}
	a := pipeline.Object{ID: AdditionID(o.ID, what, o.Stated), Type: o.Type, Digest: max(additionHash(o.ID, what, o.Stated), 1), Stated: onlyThe(what, o.Stated)}
	var refs refSet
	refs.reset(o.ID, o.AltID)
	a.JSON = append(a.JSON, '{')
	for _, m := range members {
		if !identifies(o.Type, string(m.name)) && partOf(string(m.name))&what == 0 {
			continue
		}
		a.JSON = append(append(append(a.JSON, m.quoted...), ':'), m.value...)
		a.JSON = append(a.JSON, ',')
		refs.addAllOf(m)
	}
	a.JSON[len(a.JSON)-1] = '}'
	a.Refs = append([]string{o.ID}, refs.ids...)
	return a, true
}

// AdditionID returns the id that the addition of a copy has, from what the copy states: the object's id, a line end, and a
// hash of the object's id and the parts. Of parts that the copy does not state it does not depend.
func AdditionID(id string, what pipeline.Part, s pipeline.Stated) string {
	return fmt.Sprintf("%s\n%016x", id, additionHash(id, what, s))
}

func additionHash(id string, what pipeline.Part, s pipeline.Stated) uint64 {
	what = statedOf(what, s)
	s = onlyThe(what, s)
	text := append([]byte(id), '\n', byte(what), s.Level)
	for _, hash := range []uint32{s.Author, s.Markings, s.Labels, s.References} {
		text = binary.LittleEndian.AppendUint32(text, hash)
	}
	return xxhash.Sum64(text)
}

// statedOf returns those of the parts that a copy states.
func statedOf(p pipeline.Part, s pipeline.Stated) pipeline.Part {
	var stated pipeline.Part
	if s.Labels != 0 {
		stated |= pipeline.Labels
	}
	if s.References != 0 {
		stated |= pipeline.References
	}
	if s.Author != 0 {
		stated |= pipeline.Author
	}
	if s.Level != 0 {
		stated |= pipeline.Markings
	}
	return p & stated
}

// onlyThe returns the parts of what a copy states.
func onlyThe(p pipeline.Part, s pipeline.Stated) pipeline.Stated {
	if p&pipeline.Labels == 0 {
		s.Labels = 0
	}
	if p&pipeline.References == 0 {
		s.References = 0
	}
	if p&pipeline.Author == 0 {
		s.Author = 0
	}
	if p&pipeline.Markings == 0 {
		s.Level, s.Markings = 0, 0
	}
	return s
}

// partOf returns the part that a member belongs to, 0 for none.
func partOf(name string) pipeline.Part {
	switch name {
	case "labels":
		return pipeline.Labels
	case "external_references":
		return pipeline.References
	case authorKey:
		return pipeline.Author
	case markingKey:
		return pipeline.Markings
	}
	return 0
}

// additionTo returns the id of the object that an addition is about; false says that o is no addition.
func additionTo(o pipeline.Object) (id string, adds bool) {
	id, _, adds = strings.Cut(o.ID, "\n")
	return id, adds
}

// addsAnything says whether the text of an addition still holds a part.
func addsAnything(text []byte) bool {
	members, _ := appendMembers(nil, text)
	for _, m := range members {
		if partOf(string(m.name)) != 0 && !bytes.Equal(m.value, []byte("[]")) {
			return true
		}
	}
	return false
}

// AsAddition returns what an object that was read back is if it was sent as an [Addition] of one part: then its text holds
// nothing but that part and what identifies the object. false says that it holds more, or less. An object can say as little
// itself: which of them was sent only the caller can know, by the ID.
func AsAddition(o pipeline.Object) (pipeline.Object, bool) {
	members, _ := appendMembers(nil, o.JSON)
	var what pipeline.Part
	for _, m := range members {
		part := partOf(string(m.name))
		if part == 0 && !identifies(o.Type, string(m.name)) {
			return pipeline.Object{}, false
		}
		what |= part
	}
	if bits.OnesCount8(uint8(what)) != 1 {
		return pipeline.Object{}, false
	}
	stated := onlyThe(what, new(hasher).stated(o.JSON, true, true))
	return pipeline.Object{
		ID: AdditionID(o.ID, what, stated), Type: o.Type, Stated: stated, JSON: o.JSON, Refs: append([]string{o.ID}, o.Refs...),
	}, true
}
