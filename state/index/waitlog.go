package index

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/uuid"
)

const (
	waitingFile  = "waiting.log"
	waitingMagic = "TMWAIT05"
	waitingHead  = unnotedHead + 8 + crcSize

	// unnotedMagic is what a file of before the note begins with, and unnotedHead what comes before the note.
	unnotedMagic = "TMWAIT04"
	unnotedHead  = 8 + 16 + crcSize
)

var errDamaged = errors.New("is damaged")

// waitlog is the file of waiting objects: a header with the id of the index and a note of how many bytes were safe, then frames,
// each an object that was saved or a list of those that were removed. Opening reads it from its beginning; it is rewritten when
// most of it is of no use any more.
//
// The note tells what a crash leaves at the end of a file from what a disk has lost there. It is written after the disk has
// confirmed what it is about, and not confirmed itself: it may be behind the file, never ahead.
type waitlog struct {
	path  string
	id    uuid.UUID
	file  *os.File // nil when closed
	head  int64    // where the frames begin: a file of before the note has none until it is rewritten
	size  int64    // where the next frame goes
	torn  bool     // bytes may lie behind size that do not count
	cut   bool     // the file ends before what was safe, and nothing in it says so but the note
	stale bool     // the file still has the id of an index that was emptied
	fresh bool     // the folder has not taken durable note that the file has this name
	frame []byte   // the one that was read last; its room is used again
	// sync makes durable what a file holds; tests look at what a crash would leave then.
	sync func(*os.File) error
}

func newWaitlog(path string, id uuid.UUID) waitlog {
	return waitlog{path: path, id: id, sync: (*os.File).Sync}
}

// replay opens the file, tells what each of its frames says, at which place and of what size, and leaves size behind the
// last good one. What is damaged is passed over, and the error says so with [errDamaged], also where the end of the file is
// missing. A frame that the file ends in, beyond what was safe, was under way when the process died: nobody was told of it.
func (l *waitlog) replay(tell func(op operation, at int64, size uint32)) (err error) {
	if l.file, err = os.OpenFile(l.path, os.O_RDWR, 0); err != nil {
		return err
	}
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	safe, head := l.readHead(info.Size())
	if head != nil && (!errors.Is(head, errDamaged) || info.Size() < unnotedHead) {
		return head
	}
	l.fresh = true // the process that named it may not have come to make the name durable
	frames := newScanner(l.file, l.head, info.Size())
	for {
		op, at, size, err := frames.next()
		l.size = frames.good
		switch {
		case err != nil:
			return err
		case size == 0:
			l.torn, l.cut = l.size < info.Size(), l.size < safe
			damage := cmp.Or(head, frames.damage())
			if damage == nil && l.cut {
				damage = fmt.Errorf("%w: it ends at %d of %d bytes; what lay behind is lost", errDamaged, l.size, safe)
			}
			return damage
		}
		tell(op, at, size)
	}
}

// readHead wants the file to begin as one of this index, finds where its frames begin, and returns how much of it was safe, 0
// where that is not known.
func (l *waitlog) readHead(size int64) (safe int64, err error) {
	l.head = unnotedHead // what is behind it is read as frames where it is not clear what it is
	head := make([]byte, waitingHead)
	n, err := io.ReadFull(io.NewSectionReader(l.file, 0, size), head)
	if n < unnotedHead {
		return 0, fmt.Errorf("%w: it has %d bytes: %v", errDamaged, size, err)
	}
	magic := string(head[:8])
	if (magic != waitingMagic && magic != unnotedMagic) || !isSealed(head[:unnotedHead]) {
		return 0, fmt.Errorf("%w: its header is not one", errDamaged)
	}
	if uuid.UUID(head[8:24]) != l.id {
		return 0, errForeign
	}
	if magic == unnotedMagic {
		return 0, nil
	}
	if n < waitingHead || !isSealed(head[unnotedHead:]) {
		return 0, fmt.Errorf("%w: its header does not say how long it was", errDamaged)
	}
	l.head = waitingHead
	return int64(binary.LittleEndian.Uint64(head[unnotedHead:])), nil
}

// isSealed says that bytes end in their checksum.
func isSealed(b []byte) bool {
	text, sum := b[:len(b)-crcSize], b[len(b)-crcSize:]
	return crc32.Checksum(text, castagnoli) == binary.LittleEndian.Uint32(sum)
}

// noteOf is the part of the header that says how many bytes were safe.
func noteOf(safe int64) []byte {
	note := binary.LittleEndian.AppendUint64(nil, uint64(safe))
	return binary.LittleEndian.AppendUint32(note, crc32.Checksum(note, castagnoli))
}

// note takes down how many bytes are safe.
func (l *waitlog) note(safe int64) error {
	if l.head < waitingHead {
		return nil
	}
	_, err := l.file.WriteAt(noteOf(safe), unnotedHead)
	return err
}

// usable says why nothing can be written now. A file that an earlier failure left behind is replaced first.
func (l *waitlog) usable(ctx context.Context) error {
	switch {
	case l.file == nil:
		return fs.ErrClosed
	case ctx.Err() != nil:
		return ctx.Err()
	case l.stale:
		return l.recreate()
	case l.cut:
		// What is added would reach the length that is noted.
		err := l.append(func(yield func([]byte, error) bool) { yield(lossFrame(), nil) }, false)
		l.cut = err != nil
		return err
	}
	return nil
}

// read returns the frame at a place, which is good until the next call. The error wraps [errDamaged] where it cannot be had any
// more, now or later.
func (l *waitlog) read(at int64, size uint32) ([]byte, error) {
	if l.file == nil {
		return nil, fs.ErrClosed
	}
	l.frame = slices.Grow(l.frame[:0], int(size))[:size]
	_, err := l.file.ReadAt(l.frame, at)
	if err == nil {
		err = checkFrame(l.frame)
	} else if !errors.Is(err, io.EOF) && !isBadSector(err) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w at %d: %w", errDamaged, at, err)
	}
	return l.frame, nil
}

// append adds frames to the file, durably if so asked. After an error, which may be theirs, the file is as it was, or made so by the
// next call.
func (l *waitlog) append(frames iter.Seq2[[]byte, error], durable bool) error {
	if l.torn {
		if err := l.file.Truncate(l.size); err != nil {
			return err
		}
		l.torn = false
	}
	if durable && l.fresh {
		if err := syncDir(filepath.Dir(l.path)); err != nil {
			return err
		}
		l.fresh = false
	}
	size, err := writeFrames(io.NewOffsetWriter(l.file, l.size), frames)
	if err == nil && durable {
		err = l.sync(l.file)
	}
	if err != nil {
		l.torn = l.file.Truncate(l.size) != nil
		return err
	}
	l.size += size
	if durable {
		_ = l.note(l.size) // else it stays behind
	}
	return nil
}

// writeFrames writes a little at a time: what waits takes memory enough.
func writeFrames(to io.Writer, frames iter.Seq2[[]byte, error]) (size int64, err error) {
	out := bufio.NewWriterSize(to, 64<<10)
	for frame, err := range frames {
		if err == nil {
			_, err = out.Write(frame)
		}
		if err != nil {
			return size, err
		}
		size += int64(len(frame))
	}
	return size, out.Flush()
}

// clear takes all frames out of the file, once the disk has taken note that they are none of what was safe.
func (l *waitlog) clear() error {
	if err := l.note(l.head); err != nil {
		return err
	}
	if err := l.sync(l.file); err != nil {
		return err
	}
	if err := l.file.Truncate(l.head); err != nil {
		return err
	}
	l.size = l.head
	return nil
}

// recreate begins an empty file.
func (l *waitlog) recreate() error { return l.recreateAfter(func() error { return nil }) }

// recreateAfter is recreate where the file takes the other one's place only after a step. There is room for it by then.
func (l *waitlog) recreateAfter(step func() error) error {
	n, err := l.successor()
	if err != nil {
		return err
	}
	if err = n.writeHead(); err == nil {
		err = n.sync(n.file)
	}
	if err == nil {
		err = step()
	}
	if err == nil {
		err = n.commit()
	}
	if err != nil {
		n.discard()
		return err
	}
	l.close()
	*l = *n
	return nil
}

// successor begins the file that is to take this one's place. It counts once it is committed; else it is to be discarded.
func (l *waitlog) successor() (*waitlog, error) {
	f, err := createFile(l.path + tmpSuffix)
	if err != nil {
		return nil, err
	}
	return &waitlog{path: l.path, id: l.id, file: f, head: waitingHead, size: waitingHead, sync: l.sync}, nil
}

// commit writes the header, makes the file durable and gives it its name.
func (l *waitlog) commit() error {
	if err := l.writeHead(); err != nil {
		return err
	}
	if err := nameFile(l.file, l.path); err != nil {
		return err
	}
	// It has taken the old one's place, so there is no way back; nothing in it counts as durable before its name does.
	l.fresh = syncDir(filepath.Dir(l.path)) != nil
	return nil
}

func (l *waitlog) writeHead() error {
	head := append([]byte(waitingMagic), l.id[:]...)
	head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))
	head = append(head, noteOf(l.size)...) // it has its name, and counts, only once all of it is safe
	_, err := l.file.WriteAt(head, 0)
	return err
}

func (l *waitlog) discard() {
	l.close()
	os.Remove(l.path + tmpSuffix)
}

func (l *waitlog) close() error {
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}
