package transform

import (
	"context"
	"slices"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/transform/description"
)

// scratch is what one call of Transform reuses from object to object, and leaves to the next call.
type scratch struct {
	ctx context.Context // of the call that uses it
	parsed
	object pipeline.Object // the one that was mapped last
	out    []byte
	// objects are those of the item, and copies tell which of them have come.
	objects []pipeline.Object
	copies  map[copyKey]bool
	// places are those of the members in out.
	places []place
	// inner are the members of something in the object.
	inner   []member
	refs    refSet
	strings internTable
	// room is for the references of the objects to come.
	room []string
	keys keySet
	hash hasher
	// describe converts descriptions; described is the last one, and links are those of the last one that had any.
	describe  description.Converter
	described []byte
	links     []string
	// plain is a text without quotes.
	plain []byte
	// mended says that the object that was mapped last had a description that is no text, or a date that is none.
	mended bool
	// claim is what the object says that was mapped last.
	claim claim
}

func newScratch() *scratch { return &scratch{copies: make(map[copyKey]bool)} }

// startAnew leaves behind what a panic may have left half done. What came before in the item still counts.
func (s *scratch) startAnew() { *s = scratch{ctx: s.ctx, copies: s.copies} }

// maxScratch bounds what an outlier leaves behind in the pool: bytes of a text, and elements of a list.
const (
	maxScratch     = 256 << 10
	maxScratchList = 256
)

// release forgets the texts that the scratch looked into, so that the pool does not keep an item alive.
func (s *scratch) release() {
	if max(cap(s.out), cap(s.described), cap(s.plain), cap(s.hash.text), cap(s.hash.plain)) > maxScratch || isOutlier(s.objects) {
		*s = *newScratch()
		return
	}
	clear(s.objects)
	if len(s.copies) > 0 {
		clear(s.copies)
	}
	s.objects, s.members, s.inner, s.links = s.objects[:0], emptiedMembers(s.members), emptiedMembers(s.inner), emptied(s.links)
	s.hash.top, s.hash.members = emptiedMembers(s.hash.top), emptiedMembers(s.hash.members)
	s.keys.clear()
	s.keys.list = emptied(s.keys.list)
	s.refs.reset("", "")
	s.refs.ids, s.refs.list.list = emptied(s.refs.ids), emptied(s.refs.list.list)
	s.object, s.claim, s.text = pipeline.Object{}, claim{}, nil
	s.ctx = nil
}

// isOutlier says of an item's objects that they are more than the pool keeps room for.
func isOutlier(objects []pipeline.Object) bool { return cap(objects) > 16*maxScratchList }

// emptied returns the room of a list, of which nothing is left in it, and none where that would be much.
func emptied[T any](list []T) []T {
	if cap(list) > maxScratchList {
		return nil
	}
	clear(list[:cap(list)])
	return list[:0]
}

// emptiedMembers is emptied of members. They lie one behind the other: behind the first free place was none since the last time.
func emptiedMembers(list []member) []member {
	if cap(list) > maxScratchList {
		return nil
	}
	list = list[:cap(list)]
	for used := range list {
		if list[used].quoted == nil {
			list = list[:used]
			break
		}
	}
	clear(list)
	return list[:0]
}

// newKeys returns a set for the elements of one list.
func (s *scratch) newKeys() *keySet {
	s.keys.clear()
	return &s.keys
}

// roomForRefs is how many references are given room at once: an object that stays keeps those of its neighbours.
const roomForRefs = 8

// takeRefs returns the references of the object in a list of its own.
func (s *scratch) takeRefs() []string {
	ids := s.refs.ids
	if len(ids) > roomForRefs/2 {
		return slices.Clip(slices.Clone(ids))
	}
	if cap(s.room)-len(s.room) < len(ids) {
		s.room = make([]string, 0, roomForRefs)
	}
	from := len(s.room)
	s.room = append(s.room, ids...)
	return s.room[from:len(s.room):len(s.room)]
}

// written returns the members of the text that was written.
func (s *scratch) written() []member {
	s.inner = s.inner[:0]
	for _, p := range s.places {
		quoted := s.out[p.name : p.from-1]
		name := quoted[1 : len(quoted)-1]
		if p.escaped {
			name = unquote(quoted)
		}
		s.inner = append(s.inner, member{quoted: quoted, name: name, value: s.out[p.from:p.to], canonical: p.canonical})
	}
	return s.inner
}
