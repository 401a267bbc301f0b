package index

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/google/uuid"
)

// A table is a file of records sorted by key, written once and never changed. It covers a range of numbers: a table that
// is written from memory gets the next number, one that is merged from others covers their range. A table whose range
// lies within another's is a leftover, and the ranges of the others join without a gap; nothing else needs to be written
// down about which files count.
//
// On disk it is a header and blocks of blockRecords records, each with a checksum that also depends on the header and on
// the block's place.
type table struct {
	header
	file   *os.File
	path   string
	size   int64
	filter filter
	fence  []Key // the first key of each block
}

type header struct {
	id          uuid.UUID // of the index that the table belongs to
	first, last uint64    // the range of numbers
	count       uint64    // records in this table
	total       uint64    // objects in the whole index when number last was written
}

const (
	magic        = "TMINDEX2"
	headerSize   = 64
	blockRecords = 28 // half a page of memory: what a lookup reads and checks
	blockSize    = blockRecords*recordSize + crcSize
	maxCount     = 1 << 40
	streamBuffer = 64 << 10
)

func tableName(first, last uint64) string {
	return fmt.Sprintf("delivered-%012d-%012d.tab", first, last)
}

// parseTableName returns the range of a table's file name.
func parseTableName(name string) (first, last uint64, ok bool) {
	n, err := fmt.Sscanf(name, "delivered-%d-%d.tab", &first, &last)
	return first, last, err == nil && n == 2 && tableName(first, last) == name && first > 0 && first <= last
}

func (h header) encode() []byte {
	b := make([]byte, 0, headerSize)
	b = append(b, magic...)
	b = append(b, h.id[:]...)
	for _, n := range []uint64{h.first, h.last, h.count, h.total} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = binary.LittleEndian.AppendUint32(b, 0)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeHeader(b []byte) (header, error) {
	var h header
	if len(b) < headerSize || string(b[:8]) != magic {
		return h, errors.New("is not a table")
	}
	h.id = uuid.UUID(b[8:24])
	for i, n := range []*uint64{&h.first, &h.last, &h.count, &h.total} {
		*n = binary.LittleEndian.Uint64(b[24+8*i:])
	}
	if crc32.Checksum(b[:60], castagnoli) != binary.LittleEndian.Uint32(b[60:]) || h.count == 0 || h.count > maxCount {
		return h, errors.New("has a damaged header")
	}
	return h, nil
}

func (h header) blocks() int { return int((h.count + blockRecords - 1) / blockRecords) }

func (h header) fileSize() int64 {
	return headerSize + int64(h.count)*recordSize + int64(h.blocks())*crcSize
}

// recordsOf returns how many records block i holds.
func (h header) recordsOf(i int) int {
	return int(min(blockRecords, h.count-uint64(i)*blockRecords))
}

// sum returns the checksum of a block. It depends on the index, the range and the place, but not on count, which is not
// known before the last block.
func (h header) sum(i int, records []byte) uint32 {
	seed := uint32(h.first)*31 ^ uint32(h.last)*17 ^ binary.LittleEndian.Uint32(h.id[:]) ^ uint32(i)*0x9e3779b1
	return crc32.Update(seed, castagnoli, records)
}

func (h header) check(i int, block []byte) error {
	n := len(block) - crcSize
	if h.sum(i, block[:n]) != binary.LittleEndian.Uint32(block[n:]) {
		return fmt.Errorf("has a damaged block %d", i)
	}
	return nil
}

// writeTable writes sorted entries, about expected many, under a temporary name, forces them to disk and gives them
// their name: the table is there as a whole or not at all. There must be at least one entry.
func writeTable(create createFunc, dir string, h header, expected int, entries iter.Seq2[entry, error]) (*table, error) {
	path := filepath.Join(dir, tableName(h.first, h.last))
	f, err := create(path + tmpSuffix)
	if err != nil {
		return nil, err
	}
	t := &table{header: h, file: f, path: path, filter: newFilter(expected)}
	err = t.fill(entries)
	if err == nil {
		err = finishFile(f, path)
	}
	if err != nil {
		f.Close()
		os.Remove(path + tmpSuffix)
		return nil, err
	}
	return t, nil
}

func (t *table) fill(entries iter.Seq2[entry, error]) error {
	w := bufio.NewWriterSize(t.file, streamBuffer)
	if _, err := w.Write(make([]byte, headerSize)); err != nil {
		return err
	}
	block := make([]byte, 0, blockSize)
	flush := func() error {
		block = binary.LittleEndian.AppendUint32(block, t.sum(len(t.fence)-1, block))
		_, err := w.Write(block)
		block = block[:0]
		return err
	}
	for e, err := range entries {
		if err != nil {
			return err
		}
		if len(block) == 0 {
			t.fence = append(t.fence, e.Key)
		}
		block = appendEntry(block, e)
		t.filter.add(e.Key)
		t.count++
		if len(block) == blockRecords*recordSize {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if len(block) > 0 {
		if err := flush(); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	t.size = t.fileSize()
	_, err := t.file.WriteAt(t.header.encode(), 0)
	return err
}

// loadTable opens a table of the index id and reads it through once: that proves every block, and makes the filter and the
// fence, which are not on disk. errForeign means that the table is whole as far as its header goes and of another index.
func loadTable(path string, id uuid.UUID) (*table, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	t := &table{file: f, path: path}
	if err := t.load(id); err != nil {
		f.Close()
		return nil, err
	}
	return t, nil
}

func (t *table) load(id uuid.UUID) error {
	info, err := t.file.Stat()
	if err != nil {
		return err
	}
	head := make([]byte, headerSize)
	if _, err := io.ReadFull(t.file, head); err != nil {
		return fmt.Errorf("read header: %w", err)
	}
	if t.header, err = decodeHeader(head); err != nil {
		return err
	}
	if t.id != id {
		return errForeign
	}
	if first, last, ok := parseTableName(filepath.Base(t.path)); !ok || first != t.first || last != t.last {
		return errors.New("has the name of another table")
	}
	if t.size = t.fileSize(); t.size != info.Size() {
		return fmt.Errorf("has %d bytes instead of %d", info.Size(), t.size)
	}
	t.filter = newFilter(int(t.count))
	t.fence = make([]Key, 0, t.blocks())
	n := 0
	var last Key
	for e, err := range t.entries() {
		if err != nil {
			return err
		}
		if n > 0 && compareKeys(last, e.Key) >= 0 {
			return errors.New("is not sorted")
		}
		if n%blockRecords == 0 {
			t.fence = append(t.fence, e.Key)
		}
		t.filter.add(e.Key)
		last = e.Key
		n++
	}
	return nil
}

// entries yields all records in order of their keys, and ends after an error.
func (t *table) entries() iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		for c := newCursor(t); c.advance(); {
			if !yield(c.head, c.err) {
				return
			}
		}
	}
}

var blockPool = sync.Pool{New: func() any { return new([blockSize]byte) }}

// find returns the record of a key. It reads at most one block.
func (t *table) find(k Key) (Record, bool, error) {
	if !t.filter.mayHold(k) {
		return Record{}, false, nil
	}
	i, exact := slices.BinarySearchFunc(t.fence, k, compareKeys)
	if !exact {
		i--
	}
	if i < 0 {
		return Record{}, false, nil
	}
	buf := blockPool.Get().(*[blockSize]byte)
	defer blockPool.Put(buf)
	block := buf[:t.recordsOf(i)*recordSize+crcSize]
	_, err := t.file.ReadAt(block, headerSize+int64(i)*blockSize)
	if err == nil {
		err = t.check(i, block)
	}
	if err != nil {
		return Record{}, false, fmt.Errorf("read index: %s %w", filepath.Base(t.path), err)
	}
	lo, hi := 0, t.recordsOf(i)
	for lo < hi {
		mid := (lo + hi) / 2
		switch b := block[mid*recordSize:]; compareKeys(Key(b[:16]), k) {
		case 0:
			return decodeEntry(b).Record, true, nil
		case -1:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return Record{}, false, nil
}

// remove closes the table and deletes its file. A file that cannot be deleted is deleted by the next opening.
func (t *table) remove() {
	t.file.Close()
	os.Remove(t.path)
}
