package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"slices"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// WaiterKind says why an object waits.
type WaiterKind uint8

const (
	// Parked objects wait in the run under way for what they refer to.
	Parked WaiterKind = iota + 1
	// HeldBack objects are relations that were not sent, because nothing brought one of their ends.
	HeldBack
	// Cleaned objects were sent with references cut away, and are sent again when what they refer to comes.
	Cleaned
	// Unimported objects were sent, and OpenCTI could not import them for a reason that passes: the next run sends them again.
	Unimported

	kinds = iota + 1 // one more than the last
)

// exempt says that objects of a kind do not fall out for want of room: nothing else knows of them.
func (k WaiterKind) exempt() bool { return k == Parked || k == Unimported }

// Waiter is an object that waits for others.
type Waiter struct {
	Object pipeline.Object
	// Missing are the ids that it waits for.
	Missing []string
	Kind    WaiterKind
	Dataset string
}

// A frame of the log says that an object was saved, or lists those that were removed:
//
//	frame   = length of the body, 4 bytes | checksum of the length, 4 bytes | checksum of the body, 4 bytes | body
//	body    = 1 | kind | dataset | missing | id | type | second id | kind of the object | refs | digest | modified | stated | JSON   (saved)
//	        | 2 | keys of 16 bytes   (removed)
//	        | 3   (frames were damaged that stood here)
//	stated  = flags of the marking's level and of weak objects, 1 byte | author | markings | labels | references | name
//
// Numbers are varints, of which modified (microseconds, 0 for none) is a signed one. A text has its length before it, a list
// of texts their number. The length has a checksum of its own, so that one damaged body does not hide the frames behind it.
const (
	frameHead = 4 + 2*crcSize
	// maxBody bounds what one object may cost, and what a damaged length can make a reader allocate.
	maxBody = 64 << 20

	opSave   = 1
	opRemove = 2
	opLost   = 3 // and nothing else
)

// operation is what a frame says: saved, or else removed.
type operation struct {
	saved   *Waiter
	removed []Key
}

// frameSize returns the bytes of a frame, and whether its head is one. No body is empty.
func frameSize(head []byte) (int64, bool) {
	n := binary.LittleEndian.Uint32(head)
	return frameHead + int64(n), 0 < n && n <= maxBody && crc32.Checksum(head[:4], castagnoli) == binary.LittleEndian.Uint32(head[4:])
}

func appendSave(b []byte, w *Waiter) ([]byte, error) {
	start := len(b)
	b = slices.Grow(b, frameHead+len(w.Object.JSON)+1000) // as most take
	b = append(b, make([]byte, frameHead)...)
	b = append(b, opSave, byte(w.Kind))
	b = appendText(b, w.Dataset)
	b = appendTexts(b, w.Missing)
	o := &w.Object
	for _, text := range []string{o.ID, o.Type, o.AltID} {
		b = appendText(b, text)
	}
	b = append(b, o.Kind)
	b = appendTexts(b, o.Refs)
	b = binary.AppendUvarint(b, o.Digest)
	b = binary.AppendVarint(b, microseconds(o.Modified))
	b = append(b, flagsOf(o.Stated, o.Weak))
	for _, hash := range []uint32{o.Stated.Author, o.Stated.Markings, o.Stated.Labels, o.Stated.References, o.Stated.Name} {
		b = binary.AppendUvarint(b, uint64(hash))
	}
	b = append(b, o.JSON...)
	if n := len(b) - start - frameHead; n > maxBody {
		return b[:start], fmt.Errorf("it has %d bytes, and %d are allowed", n, maxBody)
	}
	seal(b[start:])
	return b, nil
}

// microseconds is a date as a frame has it, 0 for none.
func microseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// appendRemoves splits the keys where they are too many for one frame.
func appendRemoves(b []byte, keys []Key) []byte {
	for keys := range slices.Chunk(keys, 1<<16) {
		start := len(b)
		b = append(b, make([]byte, frameHead)...)
		b = append(b, opRemove)
		for _, k := range keys {
			b = append(b, k[:]...)
		}
		seal(b[start:])
	}
	return b
}

// seal fills in the head of a frame.
func seal(frame []byte) {
	body := frame[frameHead:]
	binary.LittleEndian.PutUint32(frame, uint32(len(body)))
	binary.LittleEndian.PutUint32(frame[4:], crc32.Checksum(frame[:4], castagnoli))
	binary.LittleEndian.PutUint32(frame[8:], crc32.Checksum(body, castagnoli))
}

// lossFrame stands in a file for those that could not be read when it was written: whoever opens it finds a damage.
func lossFrame() []byte {
	frame := make([]byte, frameHead, frameHead+1)
	frame = append(frame, opLost)
	seal(frame)
	return frame
}

// checkFrame says what is wrong with a frame.
func checkFrame(frame []byte) error {
	if len(frame) < frameHead {
		return errors.New("a frame has no head")
	}
	if size, ok := frameSize(frame); !ok || size != int64(len(frame)) {
		return errors.New("a frame has the wrong length")
	}
	if crc32.Checksum(frame[frameHead:], castagnoli) != binary.LittleEndian.Uint32(frame[8:]) {
		return errors.New("a frame has the wrong checksum")
	}
	return nil
}

// decodeFrame returns what a frame says; nothing in it points into the frame.
func decodeFrame(frame []byte) (operation, error) {
	if err := checkFrame(frame); err != nil {
		return operation{}, err
	}
	body := frame[frameHead:]
	switch body[0] {
	case opSave:
		return decodeSave(body[1:])
	case opRemove:
		return decodeRemoves(body[1:])
	}
	if body[0] == opLost {
		return operation{}, errors.New("frames could not be read when it was written last")
	}
	return operation{}, fmt.Errorf("a frame has the unknown operation %d", body[0])
}

func decodeSave(b []byte) (operation, error) {
	// Once to find the end of the texts, and once more with all of them in one string.
	p := parser{rest: b}
	p.save()
	p = parser{rest: b, all: string(b[:len(b)-len(p.rest)]), size: len(b)}
	w := p.save()
	if p.bad {
		return operation{}, errors.New("a saved object is cut off")
	}
	w.Object.JSON = slices.Clone(p.rest)
	return operation{saved: &w}, nil
}

// save takes what a frame says of a saved object before its JSON.
func (p *parser) save() (w Waiter) {
	w = Waiter{Kind: WaiterKind(p.take(1)[0]), Dataset: p.text(), Missing: p.texts()}
	w.Object = pipeline.Object{ID: p.text(), Type: p.text(), AltID: p.text(), Kind: p.take(1)[0], Refs: p.texts(), Digest: p.number()}
	if modified := p.signed(); modified != 0 {
		w.Object.Modified = time.UnixMicro(modified).UTC()
	}
	flags := p.take(1)[0]
	w.Object.Weak = flags&weakBit != 0
	w.Object.Stated = pipeline.Stated{Level: flags & levelBits, Author: uint32(p.number()), Markings: uint32(p.number()), Labels: uint32(p.number()), References: uint32(p.number()), Name: uint32(p.number())}
	return w
}

func decodeRemoves(b []byte) (operation, error) {
	if len(b)%len(Key{}) != 0 {
		return operation{}, errors.New("a list of keys is cut off")
	}
	var op operation
	for keys := range slices.Chunk(b, len(Key{})) {
		op.removed = append(op.removed, Key(keys))
	}
	return op, nil
}

// parser takes values off the front of rest; once something is missing it is bad, has nothing left and yields zeros.
type parser struct {
	rest []byte
	bad  bool
	// all is what the texts are parts of, from the first of size bytes on; as long as it is "" they are passed over.
	all  string
	size int
}

func (p *parser) take(n uint64) []byte {
	if n > uint64(len(p.rest)) {
		p.rest, p.bad = nil, true
		return make([]byte, 1)
	}
	b := p.rest[:n]
	p.rest = p.rest[n:]
	return b
}

func (p *parser) number() uint64 {
	v, n := binary.Uvarint(p.rest)
	p.skip(n)
	return v
}

func (p *parser) signed() int64 {
	v, n := binary.Varint(p.rest)
	p.skip(n)
	return v
}

// skip passes over the n bytes of a number; there is none where n is not positive.
func (p *parser) skip(n int) {
	if n <= 0 {
		p.rest, p.bad = nil, true
		return
	}
	p.rest = p.rest[n:]
}

func (p *parser) text() string {
	n := p.number()
	at := p.size - len(p.rest)
	if p.take(n); p.bad || p.all == "" {
		return ""
	}
	return p.all[at : at+int(n)]
}

func (p *parser) texts() []string {
	n := p.number()
	var texts []string
	if p.all != "" && n <= uint64(len(p.rest)) {
		texts = slices.Grow(texts, int(n))
	}
	for ; n > 0 && !p.bad; n-- {
		if text := p.text(); p.all != "" {
			texts = append(texts, text)
		}
	}
	return texts
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendTexts(b []byte, texts []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(texts)))
	for _, s := range texts {
		b = appendText(b, s)
	}
	return b
}

// saves yields a frame for each object, which is good until the next, or an error where one cannot be saved.
func saves(waiters []Waiter) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var frame []byte
		for i := range waiters {
			var err error
			if frame, err = appendSave(frame[:0], &waiters[i]); err != nil {
				err = fmt.Errorf("object %s: %w", waiters[i].Object.ID, err)
			}
			if !yield(frame, err) {
				return
			}
		}
	}
}
