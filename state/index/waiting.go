package index

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"sync"

	"github.com/google/uuid"
)

// Waiting keeps objects that wait for others on disk, and in memory only where each lies and what it waits for: about 100
// bytes an object. It is bounded; the oldest fall out first. Its methods may be called from several goroutines.
type Waiting struct {
	maxCount int
	maxBytes int64

	mu      sync.Mutex
	log     waitlog
	live    places
	evicted int64
	damage  error // of objects that could not be read any more, since it was last told
}

// slack is how many useless bytes may lie in the file in any case.
const slack = 8 << 20

// openWaiting opens the log, and begins a new one where it is missing or another index's. noteLost is told what is wrong where
// objects are lost, before anything is mended.
func openWaiting(path string, id uuid.UUID, opts Options, noteLost func(reason string) error) (*Waiting, error) {
	w := &Waiting{log: waitlog{path: path, id: id}, live: newPlaces(), maxCount: opts.MaxWaiting, maxBytes: opts.MaxWaitingBytes}
	err := w.log.replay(w.apply)
	if err == nil {
		return w, nil
	}
	reason := fmt.Sprintf("%s cannot be read: %v", waitingFile, err)
	switch {
	case errors.Is(err, errDamaged):
		reason = fmt.Sprintf("%s %v", waitingFile, err)
	case errors.Is(err, errForeign):
		reason = waitingFile + " belongs to another index"
	case errors.Is(err, fs.ErrNotExist):
		reason = waitingFile + " is missing"
	}
	if err := noteLost(reason); err != nil {
		w.log.close()
		return nil, err
	}
	if errors.Is(err, errDamaged) && w.log.dropRest() {
		w.rewrite() // without what is damaged; where the disk refuses it is told of again by the next process
		return w, nil
	}
	w.live = newPlaces()
	if err := w.log.recreate(); err != nil {
		w.log.close()
		return nil, err
	}
	return w, nil
}

// apply takes note of an operation in the log, whose frame lies at a place and has a size.
func (w *Waiting) apply(op operation, at int64, size uint32) {
	if op.saved != nil {
		w.live.add(op.saved, at, size)
	}
	for _, k := range op.removed {
		w.live.drop(k)
	}
}

// Save keeps objects; when it returns nil they survive the process and the machine. An object that was there under the
// same id is replaced and counts as new. Beyond the bounds the oldest are forgotten, and Save returns how many. After an
// error nothing of this call is kept.
func (w *Waiting) Save(ctx context.Context, waiters []Waiter) (evicted int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.log.usable(ctx); err != nil {
		return 0, fmt.Errorf("save waiting objects: %w", err)
	}
	frames := make([]byte, 0, 64<<10)
	sizes := make([]uint32, len(waiters))
	for i := range waiters {
		before := len(frames)
		if frames, err = appendSave(frames, &waiters[i]); err != nil {
			return 0, fmt.Errorf("save waiting object %s: %w", waiters[i].Object.ID, err)
		}
		sizes[i] = uint32(len(frames) - before)
	}
	at := w.log.size
	if err := w.log.append(frames, true); err != nil {
		return 0, fmt.Errorf("save waiting objects in %s: %w", w.log.path, err)
	}
	for i := range waiters {
		w.live.add(&waiters[i], at, sizes[i])
		at += int64(sizes[i])
	}
	evicted = w.evict()
	w.shrink() // an error costs only room on disk, and the next call tries again
	return evicted, nil
}

// Remove forgets objects; ids that are not there do not matter. It does not wait for the disk: after a crash of the
// machine a removed object may be there again.
func (w *Waiting) Remove(ctx context.Context, ids []string) error {
	keys := make([]Key, len(ids))
	for i, id := range ids {
		keys[i] = KeyOf(id)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.log.usable(ctx); err != nil {
		return fmt.Errorf("remove waiting objects: %w", err)
	}
	keys = slices.DeleteFunc(keys, func(k Key) bool { _, ok := w.live.byID[k]; return !ok })
	err := w.remove(keys)
	if err == nil {
		err = w.shrink()
	}
	if err != nil {
		return fmt.Errorf("remove waiting objects from %s: %w", w.log.path, err)
	}
	return nil
}

// Get returns the object with an id, and whether it is there.
func (w *Waiting) Get(id string) (Waiter, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.read(KeyOf(id))
}

// Has says whether an object waits, without touching the disk.
func (w *Waiting) Has(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, ok := w.live.byID[KeyOf(id)]
	return ok
}

// WaitersOf yields the objects that wait for an id beyond the run that saved them, in the order in which they were saved, but for
// those that skip names. They may be saved and removed on the way; what is gone before its turn is not yielded. Only what is
// yielded is read from disk: an object can wait for a hundred thousand others, which come one by one.
func (w *Waiting) WaitersOf(ref string, skip func(Key) bool) iter.Seq2[Waiter, error] {
	return func(yield func(Waiter, error) bool) {
		w.mu.Lock()
		keys := w.live.waitingFor(KeyOf(ref))
		w.mu.Unlock()
		keys = slices.DeleteFunc(keys, skip)
		for waiter, err := range w.each(keys) {
			// An object that was replaced on the way may wait for others now.
			if err == nil && !slices.Contains(waiter.Missing, ref) {
				continue
			}
			if !yield(waiter, err) {
				return
			}
		}
	}
}

// All yields the objects that are there when it is called, in the order in which they were saved; what is removed before
// its turn is not yielded.
func (w *Waiting) All() iter.Seq2[Waiter, error] {
	return func(yield func(Waiter, error) bool) {
		w.mu.Lock()
		keys := w.live.keys()
		w.mu.Unlock()
		w.each(keys)(yield)
	}
}

// each reads one object after the other, without holding the lock while the caller works.
func (w *Waiting) each(keys []Key) iter.Seq2[Waiter, error] {
	return func(yield func(Waiter, error) bool) {
		for _, k := range keys {
			w.mu.Lock()
			waiter, ok, err := w.read(k)
			w.mu.Unlock()
			if (ok || err != nil) && !yield(waiter, err) {
				return
			}
		}
	}
}

// TakeDamage returns why objects could not be read any more and were forgotten, since it was last called; nil for nothing.
func (w *Waiting) TakeDamage() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	damage := w.damage
	w.damage = nil
	return damage
}

// Unparked returns how many of the objects wait beyond the run that saved them.
func (w *Waiting) Unparked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.live.byID) - w.live.kinds[Parked]
}

// Unimported returns how many of the objects are to be sent again.
func (w *Waiting) Unimported() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.live.kinds[Unimported]
}

// Len returns how many objects wait.
func (w *Waiting) Len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.live.byID)
}

// Size returns the bytes on disk.
func (w *Waiting) Size() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.size
}

// Evicted returns how many objects fell out for want of room since the index was opened.
func (w *Waiting) Evicted() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.evicted
}

func (w *Waiting) remove(keys []Key) error {
	if len(keys) == 0 {
		return nil
	}
	if err := w.log.append(appendRemoves(nil, keys), false); err != nil {
		return err
	}
	for _, k := range keys {
		w.live.drop(k)
	}
	return nil
}

// evict removes the oldest objects beyond the bounds.
func (w *Waiting) evict() int {
	keys := w.live.beyond(w.maxCount, w.maxBytes)
	w.evicted += int64(len(keys))
	// Where the disk does not take note they are gone from memory all the same: the bound is memory's, too.
	w.remove(keys)
	for _, k := range keys {
		w.live.drop(k)
	}
	return len(keys)
}

func (w *Waiting) read(k Key) (Waiter, bool, error) {
	n, ok := w.live.byID[k]
	if !ok {
		return Waiter{}, false, nil
	}
	s := w.live.slots[n]
	op, err := w.log.read(s.at, s.size)
	if err == nil && (op.saved == nil || KeyOf(op.saved.Object.ID) != k) {
		err = fmt.Errorf("%w: it is another one", errDamaged)
	}
	if err != nil {
		return Waiter{}, false, fmt.Errorf("read waiting object from %s: %w", w.log.path, err)
	}
	return *op.saved, true, nil
}

// shrink rewrites the file when more of it is useless than useful.
func (w *Waiting) shrink() error {
	useless := w.log.size - waitingHead - w.live.bytes
	switch {
	case len(w.live.byID) == 0 && w.log.size > waitingHead:
		if err := w.log.clear(); err != nil {
			return err
		}
		w.live = newPlaces()
	case useless > slack && useless > w.live.bytes:
		return w.rewrite()
	}
	return nil
}

// rewrite copies what is live to a new file and takes that one's place. After an error the old one stays in use.
func (w *Waiting) rewrite() error {
	log, err := w.log.successor()
	if err != nil {
		return err
	}
	live := newPlaces()
	err = w.copyTo(log, &live)
	if err == nil {
		err = log.commit()
	}
	if err != nil {
		log.discard()
		return err
	}
	w.log.close()
	w.log, w.live = *log, live
	return nil
}

func (w *Waiting) copyTo(log *waitlog, live *places) error {
	out := bufio.NewWriterSize(io.NewOffsetWriter(log.file, log.size), 256<<10)
	for _, k := range w.live.keys() {
		waiter, _, err := w.read(k)
		switch {
		case errors.Is(err, errDamaged):
			w.damage = err // it costs itself: else the file would grow for ever
			continue
		case err != nil:
			return err
		}
		if _, err := out.Write(w.log.frame); err != nil {
			return err
		}
		live.add(&waiter, log.size, uint32(len(w.log.frame)))
		log.size += int64(len(w.log.frame))
	}
	return out.Flush()
}

// empty forgets everything on behalf of an index with another id.
func (w *Waiting) empty(id uuid.UUID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.live = newPlaces()
	w.log.id, w.log.stale = id, true
	return w.log.recreate()
}

func (w *Waiting) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.close()
}
