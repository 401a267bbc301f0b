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
	"path/filepath"

	"github.com/google/uuid"
)

// The file of waiting objects is a log: a header with the id of the index, then frames, each an object that was saved or
// a list of those that were removed. Opening reads it from its beginning; it is rewritten when most of it is of no use
// any more.
//
//	frame   = length of the body, 4 bytes | checksum of the body, 4 bytes | body
//	body    = 1 | kind | dataset | missing | id | type | second id | refs | digest | modified | JSON   (saved)
//	        | 2 | keys of 16 bytes                                                                    (removed)
//
// Numbers are varints, of which modified (microseconds, 0 for none) is a signed one. A text has its length before it, a list
// of texts their number.
const (
	waitingFile  = "waiting.log"
	waitingMagic = "TMWAIT02"
	waitingHead  = 8 + 16 + crcSize
	frameHead    = 4 + crcSize
	// maxBody bounds what one object may cost, and what a damaged length can make a reader allocate.
	maxBody = 64 << 20
	// slack is how many useless bytes may lie in the file in any case.
	slack = 8 << 20

	opSave   = 1
	opRemove = 2
)

var errDamaged = errors.New("is damaged")

// operation is what a frame says: saved, or else removed.
type operation struct {
	saved   *Waiter
	removed []Key
}

// openWaiting opens the log, and begins a new one where it is missing or another index's. lost says what was wrong where
// objects were lost: they are those after the first damage.
func openWaiting(path string, id uuid.UUID, opts Options) (w *Waiting, lost string, err error) {
	w = &Waiting{path: path, id: id, maxCount: opts.MaxWaiting, maxBytes: opts.MaxWaitingBytes}
	w.reset()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		w.file = f
		err = w.replay()
	}
	switch {
	case err == nil:
		return w, "", nil
	case errors.Is(err, errDamaged):
		lost = fmt.Sprintf("%s %v", waitingFile, err)
		if w.size >= waitingHead {
			// The good beginning stays; the frames to come follow it.
			if err := f.Truncate(w.size); err == nil {
				return w, lost, nil
			}
		}
	case errors.Is(err, errForeign):
		lost = waitingFile + " belongs to another index"
	case errors.Is(err, fs.ErrNotExist):
		lost = waitingFile + " is missing"
	default:
		lost = fmt.Sprintf("%s cannot be read: %v", waitingFile, err)
	}
	if err := w.recreate(); err != nil {
		w.close()
		return nil, "", err
	}
	return w, lost, nil
}

// replay reads the log and leaves size behind its last good frame. A frame that the file ends in was under way when the
// process died: nobody was told that it was safe.
func (w *Waiting) replay() error {
	info, err := w.file.Stat()
	if err != nil {
		return err
	}
	r := bufio.NewReaderSize(io.NewSectionReader(w.file, 0, info.Size()), 64<<10)
	head := make([]byte, waitingHead)
	if _, err := io.ReadFull(r, head); err != nil {
		return fmt.Errorf("%w: it has %d bytes", errDamaged, info.Size())
	}
	sum := binary.LittleEndian.Uint32(head[waitingHead-crcSize:])
	if string(head[:8]) != waitingMagic || crc32.Checksum(head[:waitingHead-crcSize], castagnoli) != sum {
		return fmt.Errorf("%w: its header is not one", errDamaged)
	}
	if uuid.UUID(head[8:24]) != w.id {
		return errForeign
	}
	for w.size = waitingHead; w.size < info.Size(); {
		frame, err := w.nextFrame(r, info.Size()-w.size)
		if err != nil {
			return err
		}
		if frame == nil {
			return w.file.Truncate(w.size)
		}
		op, err := decodeFrame(frame)
		if err != nil {
			return fmt.Errorf("%w at %d of %d bytes: %w", errDamaged, w.size, info.Size(), err)
		}
		if op.saved != nil {
			w.place(op.saved, w.size, uint32(len(frame)))
		}
		for _, k := range op.removed {
			w.drop(k)
		}
		w.size += int64(len(frame))
	}
	return nil
}

// nextFrame returns nil where the rest of the file is not a whole frame.
func (w *Waiting) nextFrame(r *bufio.Reader, rest int64) ([]byte, error) {
	head, err := r.Peek(frameHead)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	// No body is empty: zeros are what a file system leaves of bytes that had not reached the disk.
	if len(head) < frameHead || frameSize(head) > rest || frameSize(head) == frameHead {
		return nil, nil
	}
	size := int(frameSize(head))
	if size > frameHead+maxBody {
		return nil, fmt.Errorf("%w at %d: a frame of %d bytes", errDamaged, w.size, size)
	}
	if cap(w.frame) < size {
		w.frame = make([]byte, size)
	}
	w.frame = w.frame[:size]
	_, err = io.ReadFull(r, w.frame)
	return w.frame, err
}

// append adds frames to the file, durably if so asked. After an error the file is as it was, or made so by the next call.
func (w *Waiting) append(frames []byte, durable bool) error {
	if w.torn {
		if err := w.file.Truncate(w.size); err != nil {
			return err
		}
		w.torn = false
	}
	_, err := w.file.WriteAt(frames, w.size)
	if err == nil && durable {
		err = w.file.Sync()
	}
	if err != nil {
		w.torn = w.file.Truncate(w.size) != nil
		return err
	}
	w.size += int64(len(frames))
	return nil
}

// shrink rewrites the file when more of it is useless than useful.
func (w *Waiting) shrink() error {
	useless := w.size - waitingHead - w.bytes
	switch {
	case len(w.byID) == 0 && w.size > waitingHead:
		if err := w.file.Truncate(waitingHead); err != nil {
			return err
		}
		w.reset()
		w.size = waitingHead
		return nil
	case useless > slack && useless > w.bytes:
		return w.rewrite()
	}
	return nil
}

// rewrite copies what is live to a new file and takes that one's place. After an error the old one stays in use.
func (w *Waiting) rewrite() error {
	f, err := createFile(w.path + tmpSuffix)
	if err != nil {
		return err
	}
	n := &Waiting{path: w.path, id: w.id, maxCount: w.maxCount, maxBytes: w.maxBytes, file: f, size: waitingHead}
	n.reset()
	err = w.copyTo(n)
	if err == nil {
		err = n.commit()
	}
	if err != nil {
		f.Close()
		os.Remove(w.path + tmpSuffix)
		return err
	}
	w.file.Close()
	w.file, w.size = n.file, n.size
	w.slots, w.links, w.oldest, w.bytes, w.byID, w.byRef = n.slots, n.links, n.oldest, n.bytes, n.byID, n.byRef
	return nil
}

func (w *Waiting) copyTo(n *Waiting) error {
	out := bufio.NewWriterSize(io.NewOffsetWriter(n.file, waitingHead), 256<<10)
	for _, s := range w.slots[w.oldest:] {
		if s.size == 0 {
			continue
		}
		waiter, _, err := w.read(s.key)
		if err != nil {
			return err
		}
		if _, err := out.Write(w.frame); err != nil {
			return err
		}
		n.place(&waiter, n.size, s.size)
		n.size += int64(s.size)
	}
	return out.Flush()
}

// commit writes the header, makes the file durable and gives it its name.
func (w *Waiting) commit() error {
	head := append([]byte(waitingMagic), w.id[:]...)
	head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))
	if _, err := w.file.WriteAt(head, 0); err != nil {
		return err
	}
	if err := w.file.Sync(); err != nil {
		return err
	}
	if err := os.Rename(w.path+tmpSuffix, w.path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(w.path))
}

// recreate begins an empty file.
func (w *Waiting) recreate() error {
	f, err := createFile(w.path + tmpSuffix)
	if err != nil {
		return err
	}
	n := &Waiting{path: w.path, id: w.id, file: f}
	if err := n.commit(); err != nil {
		f.Close()
		return err
	}
	if w.file != nil {
		w.file.Close()
	}
	w.file, w.size, w.torn, w.stale = f, waitingHead, false, false
	w.reset()
	return nil
}

// empty forgets everything on behalf of an index with another id.
func (w *Waiting) empty(id uuid.UUID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.id = id
	w.reset()
	w.stale = true
	return w.recreate()
}

func (w *Waiting) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	w.file = nil
	return err
}
