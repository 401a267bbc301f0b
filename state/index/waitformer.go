package index

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"

	"github.com/google/uuid"
)

// formerMagic begins a file whose frames have no checksum of the length. It is read one last time, for what waits in it nothing
// else knows of.
const formerMagic = "TMWAIT03"

const formerFrameHead = 4 + crcSize

// convertFormer replaces a file of the former layout, if there is one. noteLost is told before where some of it is damaged.
func convertFormer(path string, id uuid.UUID, noteLost func(reason string) error) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	l := &waitlog{path: path, id: id, file: f}
	if l.checkHead(info.Size(), formerMagic) != nil {
		return nil // replaying it says what it is
	}
	to, err := l.successor()
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(io.NewOffsetWriter(to.file, waitingHead), 256<<10)
	lost, err := convertFrames(out, io.NewSectionReader(f, waitingHead, info.Size()-waitingHead))
	if err == nil {
		err = out.Flush()
	}
	if err == nil && lost != nil {
		err = noteLost(fmt.Sprintf("%s %v", waitingFile, lost))
	}
	if err == nil {
		err = to.commit()
	}
	if err != nil {
		to.discard()
		return err
	}
	return to.close()
}

// convertFrames copies frames as far as they are whole.
func convertFrames(out io.Writer, in *io.SectionReader) (lost, err error) {
	r := bufio.NewReaderSize(in, 64<<10)
	for at := int64(0); ; {
		head := make([]byte, formerFrameHead)
		if _, err := io.ReadFull(r, head); err != nil {
			return nil, nil // the end, perhaps within a head
		}
		n := int64(binary.LittleEndian.Uint32(head))
		if n == 0 || n > in.Size()-at-formerFrameHead {
			return nil, nil // nobody was told that it was safe
		}
		if n > maxBody {
			return fmt.Errorf("%w at %d: a frame of %d bytes", errDamaged, waitingHead+at, n), nil
		}
		frame := make([]byte, frameHead+n)
		if _, err := io.ReadFull(r, frame[frameHead:]); err != nil {
			return nil, err
		}
		if crc32.Checksum(frame[frameHead:], castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
			return fmt.Errorf("%w at %d: a frame has the wrong checksum", errDamaged, waitingHead+at), nil
		}
		seal(frame)
		if _, err := out.Write(frame); err != nil {
			return nil, err
		}
		at += formerFrameHead + n
	}
}
