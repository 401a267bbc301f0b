package index

import "encoding/binary"

// filter says of a key that a table does not hold it, without touching the disk: always right when it says so, and wrong
// about once in a hundred when it does not. All bits of a key lie in one line of memory, so that a question costs one
// miss of the processor's cache. The bits are taken from the key itself, which is a hash already.
type filter [][lineWords]uint64

const (
	lineWords = 8   // 64 bytes
	lineBits  = 512 // 9 bits of the key choose one of them, 7 times
	keyBits   = 12  // of filter for each key
	// maxFilter bounds the memory of one filter to 16 MiB. Beyond 11 million keys it is wrong more often.
	maxFilter = 16 << 20 / (lineWords * 8)
)

func newFilter(keys int) filter {
	return make(filter, min(max(1, (keys*keyBits+lineBits-1)/lineBits), maxFilter))
}

func (f filter) line(k Key) *[lineWords]uint64 {
	return &f[uint64(binary.BigEndian.Uint32(k[:]))*uint64(len(f))>>32]
}

func (f filter) add(k Key) {
	line, bits := f.line(k), binary.LittleEndian.Uint64(k[8:])
	for range 7 {
		line[bits>>6&7] |= 1 << (bits & 63)
		bits >>= 9
	}
}

func (f filter) mayHold(k Key) bool {
	line, bits := f.line(k), binary.LittleEndian.Uint64(k[8:])
	for range 7 {
		if line[bits>>6&7]&(1<<(bits&63)) == 0 {
			return false
		}
		bits >>= 9
	}
	return true
}
