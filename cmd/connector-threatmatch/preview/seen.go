package preview

import (
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// seen is a set of texts of a fixed size: a Bloom filter. It never takes what it holds for something new, and rarely, the more
// it holds the less so, something new for what it holds.
type seen struct {
	words []uint64
	count int
}

const (
	seenBytes  = 8 << 20 // 13 bits for each of five million texts: one in 600 of these is mistaken then
	seenHashes = 6
	// seenSurely is up to how many texts not one is likely to be mistaken.
	seenSurely = 1_000_000
)

func newSeen() *seen { return &seen{words: make([]uint64, seenBytes/8)} }

// hashOf is how a text is known.
func hashOf(text string) uint64 { return xxhash.Sum64String(text) }

// has tells whether the set holds what has a hash.
func (s *seen) has(hash uint64) bool {
	for i := range seenHashes {
		if word, bit := s.place(hash, i); s.words[word]&bit == 0 {
			return false
		}
	}
	return true
}

// add takes it up, and tells whether it is new.
func (s *seen) add(hash uint64) bool {
	fresh := false
	for i := range seenHashes {
		word, bit := s.place(hash, i)
		fresh = fresh || s.words[word]&bit == 0
		s.words[word] |= bit
	}
	if fresh {
		s.count++
	}
	return fresh
}

// isSure says that no text was mistaken yet, as far as one can tell.
func (s *seen) isSure() bool { return s.count <= seenSurely }

// place is where the i-th bit of a hash lies: two halves that are mixed make as many places as are wanted.
func (s *seen) place(hash uint64, i int) (word int, bit uint64) {
	step := bits.RotateLeft64(hash*0x9e3779b97f4a7c15, 32) | 1
	at := (hash + uint64(i)*step) % uint64(len(s.words)*64)
	return int(at / 64), 1 << (at % 64)
}
