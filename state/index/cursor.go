package index

import (
	"bufio"
	"io"
)

// cursor reads a table from its beginning, for one who may read others side by side.
type cursor struct {
	table *table
	from  *bufio.Reader
	room  [blockSize]byte
	block int    // the next to read
	rest  []byte // of the one before

	head entry // what was read last
	err  error // why nothing more can be
}

func newCursor(t *table) *cursor {
	return &cursor{table: t, from: bufio.NewReaderSize(io.NewSectionReader(t.file, headerSize, t.size-headerSize), streamBuffer)}
}

// advance reads the next record, or fails, and reports false where there is none.
func (c *cursor) advance() bool {
	if len(c.rest) == 0 {
		if c.err != nil || c.block == c.table.blocks() {
			return false
		}
		if c.err = c.read(); c.err != nil {
			return true
		}
	}
	c.head, c.rest = decodeEntry(c.rest), c.rest[recordSize:]
	return true
}

// read reads the next block.
func (c *cursor) read() error {
	records := c.table.recordsOf(c.block) * recordSize
	block := c.room[:records+crcSize]
	if _, err := io.ReadFull(c.from, block); err != nil {
		return err
	}
	if err := c.table.check(c.block, block); err != nil {
		return err
	}
	c.block++
	c.rest = block[:records]
	return nil
}
