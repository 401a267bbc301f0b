package transform

import (
	"bytes"
	"encoding/binary"
)

// key is what elements of a list are told apart by: one text, or two.
type key struct{ first, second []byte }

func (k key) is(other key) bool {
	return bytes.Equal(k.first, other.first) && bytes.Equal(k.second, other.second)
}

// keySet holds the keys of a list. It does not copy what they consist of.
type keySet struct {
	list []key
	// many answers for keys once there are too many to look through.
	many map[string]bool
}

// fewKeys is how many are looked through one by one, which takes no room.
const fewKeys = 32

func (s *keySet) clear() {
	clear(s.list)
	s.list, s.many = s.list[:0], nil
}

// add takes up a key, unless it is there already: then it returns false.
func (s *keySet) add(k key) bool {
	if s.many == nil && len(s.list) == fewKeys {
		s.many = make(map[string]bool, 4*fewKeys)
		for _, known := range s.list {
			s.many[known.text()] = true
		}
	}
	if s.many != nil {
		text := k.text()
		if s.many[text] {
			return false
		}
		s.many[text] = true
		return true
	}
	for _, known := range s.list {
		if known.is(k) {
			return false
		}
	}
	s.list = append(s.list, k)
	return true
}

// text is the key in one, which tells where its first part ends.
func (k key) text() string {
	text := binary.AppendUvarint(make([]byte, 0, binary.MaxVarintLen64+len(k.first)+len(k.second)), uint64(len(k.first)))
	return string(append(append(text, k.first...), k.second...))
}
