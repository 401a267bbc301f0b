package index

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"syscall"
)

// scanner reads the frames of a log one after the other. It passes over those that are damaged, and tells them from what a crash
// leaves at the end of a file: the beginning of a frame of which nobody was told that it was safe, or zeros in its place. Whether that
// was so the note in the header tells, see [waitlog].
type scanner struct {
	file io.ReaderAt
	r    *bufio.Reader // stands at
	at   int64         // where the next frame should be
	end  int64         // of the file
	room []byte        // of the frame that was read last
	// careful says that a part of the file cannot be read, so that no read goes beyond a block: some file systems refuse one whole.
	careful bool

	good    int64 // end of the last whole frame
	damaged int   // places that were passed over
	first   int64 // of these
	why     error // what was wrong there
}

func newScanner(file io.ReaderAt, at, end int64) *scanner {
	return &scanner{file: file, r: bufio.NewReaderSize(io.NewSectionReader(file, at, end-at), 64<<10), at: at, end: end, good: at}
}

// next returns what the next whole frame says, where it lies and its size, which is 0 at the end. An error is the disk's.
func (s *scanner) next() (op operation, at int64, size uint32, err error) {
	searching := false // behind a damaged head: the next frame may begin anywhere
	for s.end-s.at > frameHead {
		head, err := s.r.Peek(frameHead)
		switch {
		case isBadSector(err) && s.lookCloser():
			continue
		case isBadSector(err):
			s.note(err)
			searching = true
			s.seek(s.at/block*block + block)
			continue
		case err != nil:
			return op, 0, 0, err
		}
		size, ok := frameSize(head)
		switch {
		case ok && searching && !s.isWholeAt(s.at, size), !ok && searching:
			s.skip(1)
			continue
		case !ok:
			if zeros, err := s.endsInZeros(s.at + frameHead); zeros || err != nil {
				return op, 0, 0, err
			}
			s.note(errors.New("a frame has a damaged head"))
			searching = true
			s.skip(1)
			continue
		case size > s.end-s.at:
			return op, 0, 0, nil
		}
		searching = false
		frame, err := s.read(int(size))
		switch {
		case isBadSector(err) && s.lookCloser():
			continue
		case isBadSector(err):
			s.note(err)
			s.seek(s.at + size)
			continue
		case err != nil:
			return op, 0, 0, err
		}
		op, err := decodeFrame(frame)
		if err == nil {
			at = s.at
			s.at += size
			s.good = s.at
			return op, at, uint32(size), nil
		}
		damage := err
		if zeros, err := s.endsInZeros(s.at + size - 1); zeros || err != nil {
			return op, 0, 0, err
		}
		s.note(damage)
		s.at += size
	}
	return op, 0, 0, nil
}

// read returns the bytes at the place.
func (s *scanner) read(size int) ([]byte, error) {
	if cap(s.room) < size {
		s.room = make([]byte, size)
	}
	frame := s.room[:size]
	_, err := io.ReadFull(s.r, frame)
	return frame, err
}

// isBadSector says that a disk cannot give back what it has.
func isBadSector(err error) bool { return errors.Is(err, syscall.EIO) }

// block is what a disk reads or does not.
const block = 4 << 10

// seek goes on at a place.
func (s *scanner) seek(at int64) {
	s.at = min(at, s.end)
	var from io.Reader = io.NewSectionReader(s.file, s.at, s.end-s.at)
	if s.careful {
		from = &blockwise{from, s.at}
	}
	s.r.Reset(from)
}

// lookCloser goes on block by block, and says whether that is news.
func (s *scanner) lookCloser() bool {
	if s.careful {
		return false
	}
	s.careful = true
	s.seek(s.at)
	return true
}

// blockwise reads no further than to the end of a block at once.
type blockwise struct {
	r  io.Reader
	at int64
}

func (b *blockwise) Read(p []byte) (int, error) {
	n, err := b.r.Read(p[:min(int64(len(p)), block-b.at%block)])
	b.at += int64(n)
	return n, err
}

func (s *scanner) skip(n int) {
	s.at += int64(n)
	_, _ = s.r.Discard(n) // they were peeked at
}

func (s *scanner) note(why error) {
	if s.damaged == 0 {
		s.first, s.why = s.at, why
	}
	s.damaged++
}

// isWholeAt says that a good frame of a size begins at a place.
func (s *scanner) isWholeAt(at, size int64) bool {
	if size > s.end-at {
		return false
	}
	frame := make([]byte, size)
	_, err := s.file.ReadAt(frame, at)
	return err == nil && checkFrame(frame) == nil
}

// endsInZeros says that there is nothing else from a place to the end. Files end in such where their length had reached the
// disk and their content had not; no frame does, for an object ends in a brace, and keys are random.
func (s *scanner) endsInZeros(from int64) (bool, error) {
	var room [32 << 10]byte
	for from < s.end {
		some := room[:min(int64(len(room)), s.end-from)]
		if _, err := s.file.ReadAt(some, from); isBadSector(err) {
			return false, nil
		} else if err != nil {
			return false, err
		}
		for _, b := range some {
			if b != 0 {
				return false, nil
			}
		}
		from += int64(len(some))
	}
	return true, nil
}

// damage says what was passed over, nil where that was nothing.
func (s *scanner) damage() error {
	if s.damaged == 0 {
		return nil
	}
	places := "there"
	if s.damaged > 1 {
		places = fmt.Sprintf("in %d places", s.damaged)
	}
	return fmt.Errorf("%w at %d of %d bytes: %v; what lay %s is lost", errDamaged, s.first, s.end, s.why, places)
}
