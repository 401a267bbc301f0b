package index

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// Key stands for the id of a STIX object.
type Key [16]byte

// KeyOf returns the key of a STIX id: the first half of its SHA-256, so that keys spread evenly whatever the ids are.
func KeyOf(id string) Key {
	var room [128]byte // longer than STIX ids are
	sum := sha256.Sum256(append(room[:0], id...))
	return Key(sum[:16])
}

func compareKeys(a, b Key) int { return bytes.Compare(a[:], b[:]) }

// Record is what is remembered of an object that was sent, or that OpenCTI was found to hold.
type Record struct {
	// Digest is the hash of the content, 0 where that is not known.
	Digest uint64
	// Modified is the version that was sent, in microseconds since 1970, 0 for an object without one.
	Modified int64
	// Run is the number of the run that sent it, 0 once OpenCTI itself has said that it holds the object.
	Run uint32
	// Seq is the caller's: what it has to know again of the object when something refers to it.
	Seq uint32
	// Cut is a hash of the references that it was sent without, 0 when it was sent whole.
	Cut uint32
	// Stated is what the copies of this version have stated so far; of labels and external references the copy that was sent.
	Stated pipeline.Stated
	// Arrival says that Modified is when the object came, for its own date lay too far ahead to be believed.
	Arrival bool
	// Weak says that only a name of the object was sent; see [pipeline.Object].
	Weak bool
	// Addition says that the record does not stand for an object, but for what one of its copies stated in addition.
	Addition bool
	// Day is when all this was last known to be true.
	Day Day
	// Refs is how many others the object refers to as it was sent, at most 65535, and 0 where it was sent in parts: a copy that was sent without some of its
	// references has the digest of the whole one where only its author or its markings are missing.
	Refs uint16
	// Kind is the object's, see [pipeline.Object].
	Kind uint8
	// Mark says whether OpenCTI is thought to have the object.
	Mark Mark
	// Tries is how often this version was sent again because OpenCTI had not imported it.
	Tries uint8
	// Filtered says that nothing was sent, for a filter leaves the object out: copies of the version Modified, of the strictest of
	// which Stated has the level.
	Filtered pipeline.Filtered
}

// Mark says what is thought of an object that was sent.
type Mark uint8

const (
	// Delivered objects are at OpenCTI, or in its queue.
	Delivered Mark = iota
	// Renewed ones likewise, but OpenCTI has had an earlier version: that it holds the object does not say that it has this.
	Renewed
	// Lost objects are not at OpenCTI: they are sent again when they come, and nothing may refer to them until then.
	Lost
	// Refused objects are not at OpenCTI, for it does not take this version: it is not sent again, and nothing may refer to
	// it.
	Refused
)

// Day counts the days since 1970, in UTC; 0 is a day that nobody remembers.
type Day uint16

// DayOf returns the day of a moment, the first or the last that there is where it lies beyond.
func DayOf(t time.Time) Day { return Day(min(max(t.Unix()/(24*60*60), 0), math.MaxUint16)) }

type entry struct {
	Key
	Record
}

// recordSize is what an entry takes on disk.
const recordSize = 71

// The bits of an entry's flags, below which the level of the marking stands.
const (
	weakBit      = 1 << 3
	additionBit  = 1 << 4
	arrivalBit   = 1 << 5
	filteredBits = 6 // from here on, two of them
	levelBits    = weakBit - 1
)

func appendEntry(b []byte, e entry) []byte {
	b = append(b, e.Key[:]...)
	b = binary.LittleEndian.AppendUint64(b, e.Digest)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Modified))
	b = binary.LittleEndian.AppendUint32(b, e.Run)
	b = binary.LittleEndian.AppendUint32(b, e.Seq)
	b = binary.LittleEndian.AppendUint16(b, uint16(e.Day))
	// Six bits are more than the tries of a version and room for another mark.
	b = append(b, e.Kind, byte(e.Mark)<<6|min(e.Tries, 1<<6-1))
	b = binary.LittleEndian.AppendUint16(b, e.Refs)
	for _, hash := range []uint32{e.Cut, e.Stated.Author, e.Stated.Markings, e.Stated.Labels, e.Stated.References, e.Stated.Name} {
		b = binary.LittleEndian.AppendUint32(b, hash)
	}
	flags := flagsOf(e.Stated, e.Weak)
	if e.Addition {
		flags |= additionBit
	}
	if e.Arrival {
		flags |= arrivalBit
	}
	flags |= byte(e.Filtered) << filteredBits
	return append(b, flags)
}

func flagsOf(s pipeline.Stated, weak bool) byte {
	flags := min(s.Level, levelBits)
	if weak {
		flags |= weakBit
	}
	return flags
}

func decodeEntry(b []byte) entry {
	_ = b[recordSize-1]
	return entry{Key(b[:16]), Record{
		Digest:   binary.LittleEndian.Uint64(b[16:]),
		Modified: int64(binary.LittleEndian.Uint64(b[24:])),
		Run:      binary.LittleEndian.Uint32(b[32:]),
		Seq:      binary.LittleEndian.Uint32(b[36:]),
		Day:      Day(binary.LittleEndian.Uint16(b[40:])),
		Kind:     b[42],
		Mark:     Mark(b[43] >> 6),
		Tries:    b[43] & (1<<6 - 1),
		Refs:     binary.LittleEndian.Uint16(b[44:]),
		Cut:      binary.LittleEndian.Uint32(b[46:]),
		Stated: pipeline.Stated{
			Author:     binary.LittleEndian.Uint32(b[50:]),
			Markings:   binary.LittleEndian.Uint32(b[54:]),
			Labels:     binary.LittleEndian.Uint32(b[58:]),
			References: binary.LittleEndian.Uint32(b[62:]),
			Name:       binary.LittleEndian.Uint32(b[66:]),
			Level:      b[70] & levelBits,
		},
		Weak:     b[70]&weakBit != 0,
		Addition: b[70]&additionBit != 0,
		Arrival:  b[70]&arrivalBit != 0,
		Filtered: pipeline.Filtered(b[70] >> filteredBits),
	}}
}
