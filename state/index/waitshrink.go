package index

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

const (
	// slack is how many useless bytes may lie in the file in any case.
	slack = 8 << 20
	// idle is how long the file may be while nothing waits: the disk is waited for when it is cleared, which would be with each
	// item of which something waits for a moment.
	idle = 1 << 20
)

// shrink rewrites the file when more of it is useless than useful.
func (w *Waiting) shrink() error {
	useless := w.log.size - w.log.head - w.live.bytes
	switch {
	case len(w.live.byID) == 0 && w.lossy && w.log.size > w.log.head+int64(len(lossFrame())):
		return w.rewrite()
	case len(w.live.byID) == 0 && !w.lossy && w.log.size > idle:
		return w.clear()
	case useless > slack && useless > w.live.bytes:
		return w.rewrite()
	}
	return nil
}

// clear makes the file of which nothing is live an empty one.
func (w *Waiting) clear() error {
	if err := w.log.clear(); err != nil {
		return err
	}
	w.live = newPlaces()
	return nil
}

// rewrite copies what is live to a new file and takes that one's place. After an error the old one stays in use.
func (w *Waiting) rewrite() error {
	log, err := w.log.successor()
	if err != nil {
		return err
	}
	at, err := w.copyTo(log)
	if err == nil {
		err = log.commit()
	}
	if err != nil {
		log.discard()
		return err
	}
	w.log.close()
	w.log, w.live = *log, w.live.moved(at)
	return nil
}

// copyTo returns where the object of each slot lies in the other file, 0 for none.
func (w *Waiting) copyTo(log *waitlog) ([]int64, error) {
	out := bufio.NewWriterSize(io.NewOffsetWriter(log.file, log.size), 256<<10)
	put := func(frame []byte) error {
		log.size += int64(len(frame))
		_, err := out.Write(frame)
		return err
	}
	at := make([]int64, len(w.live.slots))
	for i, s := range w.live.slots {
		if s.size == 0 {
			continue
		}
		frame, err := w.log.read(s.at, s.size)
		if errors.Is(err, errDamaged) {
			w.lose(s.key, fmt.Errorf("rewrite %s: %w", w.log.path, err))
			continue
		}
		if err != nil {
			return nil, err
		}
		at[i] = log.size
		if err := put(frame); err != nil {
			return nil, err
		}
	}
	if w.lossy {
		if err := put(lossFrame()); err != nil {
			return nil, err
		}
	}
	return at, out.Flush()
}
