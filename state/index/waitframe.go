package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
)

func appendSave(b []byte, w *Waiter) ([]byte, error) {
	start := len(b)
	b = append(b, make([]byte, frameHead)...)
	b = append(b, opSave, byte(w.Kind))
	b = appendText(b, w.Dataset)
	b = appendText(b, w.ID)
	b = binary.AppendUvarint(b, uint64(len(w.Missing)))
	for _, id := range w.Missing {
		b = appendText(b, id)
	}
	b = append(b, w.Object...)
	if n := len(b) - start - frameHead; n > maxBody {
		return b[:start], fmt.Errorf("it has %d bytes, and %d are allowed", n, maxBody)
	}
	seal(b[start:])
	return b, nil
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
	binary.LittleEndian.PutUint32(frame[4:], crc32.Checksum(body, castagnoli))
}

// decodeFrame returns what a frame says; nothing in it points into the frame.
func decodeFrame(frame []byte) (operation, error) {
	if len(frame) <= frameHead || frameSize(frame) != int64(len(frame)) {
		return operation{}, errors.New("a frame has the wrong length")
	}
	body := frame[frameHead:]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(frame[4:]) {
		return operation{}, errors.New("a frame has the wrong checksum")
	}
	switch body[0] {
	case opSave:
		return decodeSave(body[1:])
	case opRemove:
		return decodeRemoves(body[1:])
	}
	return operation{}, fmt.Errorf("a frame has the unknown operation %d", body[0])
}

func decodeSave(b []byte) (operation, error) {
	p := parser{rest: b}
	w := &Waiter{Kind: Kind(p.take(1)[0]), Dataset: p.text(), ID: p.text()}
	for n := p.number(); n > 0 && !p.bad; n-- {
		w.Missing = append(w.Missing, p.text())
	}
	w.Object = slices.Clone(p.rest)
	if p.bad {
		return operation{}, errors.New("a saved object is cut off")
	}
	return operation{saved: w}, nil
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

// parser takes values off the front of rest; once something is missing it is bad and yields zeros.
type parser struct {
	rest []byte
	bad  bool
}

func (p *parser) take(n uint64) []byte {
	if p.bad || n > uint64(len(p.rest)) {
		p.bad = true
		return make([]byte, 1)[:min(n, 1)]
	}
	b := p.rest[:n]
	p.rest = p.rest[n:]
	return b
}

func (p *parser) number() uint64 {
	v, n := binary.Uvarint(p.rest)
	if p.bad || n <= 0 {
		p.bad = true
		return 0
	}
	p.rest = p.rest[n:]
	return v
}

func (p *parser) text() string { return string(p.take(p.number())) }

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}
