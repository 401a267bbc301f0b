package index

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
)

// Key stands for the id of a STIX object.
type Key [16]byte

// KeyOf returns the key of a STIX id: the first half of its SHA-256, so that keys spread evenly whatever the ids are.
func KeyOf(id string) Key {
	sum := sha256.Sum256([]byte(id))
	return Key(sum[:16])
}

func compareKeys(a, b Key) int { return bytes.Compare(a[:], b[:]) }

// Record is what is remembered of a delivered object.
type Record struct {
	// Digest is the hash of the content as it was sent.
	Digest uint64
	// Modified is the version that was sent, in microseconds since 1970, 0 for an object without one.
	Modified int64
	// Run is the number of the run that sent it.
	Run uint32
	// Seq is the caller's: what it has to know again of the object when something refers to it.
	Seq uint32
}

type entry struct {
	Key
	Record
}

// recordSize is what an entry takes on disk.
const recordSize = 40

func appendEntry(b []byte, e entry) []byte {
	b = append(b, e.Key[:]...)
	b = binary.LittleEndian.AppendUint64(b, e.Digest)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Modified))
	b = binary.LittleEndian.AppendUint32(b, e.Run)
	return binary.LittleEndian.AppendUint32(b, e.Seq)
}

func decodeEntry(b []byte) entry {
	_ = b[recordSize-1]
	return entry{Key(b[:16]), Record{
		Digest:   binary.LittleEndian.Uint64(b[16:]),
		Modified: int64(binary.LittleEndian.Uint64(b[24:])),
		Run:      binary.LittleEndian.Uint32(b[32:]),
		Seq:      binary.LittleEndian.Uint32(b[36:]),
	}}
}
