package index

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

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
	damage  error // why objects were lost, until [Waiting.TakeDamage]
	lossy   bool  // some were: the file has to tell the next process
}

// ErrCrowded is what [Waiting.Save] returns where the bounds leave no room beside what may not fall out.
var ErrCrowded = errors.New("too much waits on disk that nothing else knows of")

// newWaiting begins an empty log in place of any other, which it takes after a step.
func newWaiting(path string, id uuid.UUID, opts Options, step func() error) (*Waiting, error) {
	w := &Waiting{log: newWaitlog(path, id), live: newPlaces(), maxCount: opts.MaxWaiting, maxBytes: opts.MaxWaitingBytes}
	return w, w.log.recreateAfter(step)
}

// openWaiting opens the log, and begins a new one where it is missing or another index's. noteLost is told what is wrong where
// objects are lost, before anything is mended.
func openWaiting(path string, id uuid.UUID, opts Options, noteLost func(reason string) error) (*Waiting, error) {
	w := &Waiting{log: newWaitlog(path, id), live: newPlaces(), maxCount: opts.MaxWaiting, maxBytes: opts.MaxWaitingBytes}
	err := w.log.replay(w.apply)
	if err == nil {
		if w.log.head < waitingHead {
			_ = w.rewrite() // from now on a loss at its end is noticed; where there is no room, the next opening tries again
		}
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
	noted := noteLost(reason)
	if errors.Is(err, errDamaged) && w.log.size >= unnotedHead {
		w.lossy = noted != nil
		_ = w.rewrite() // else the next opening finds the same damage, and says so again
		return w, nil
	}
	if noted != nil {
		w.log.close()
		return nil, noted
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
// same id is replaced and counts as new. Beyond the bounds the oldest are forgotten, and Save returns how many; parked and
// unimported ones are not, so that too many of them are refused with [ErrCrowded]. After an error nothing of this call is
// kept.
func (w *Waiting) Save(ctx context.Context, waiters []Waiter) (evicted int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.log.usable(ctx); err != nil {
		return 0, fmt.Errorf("save waiting objects: %w", err)
	}
	sizes := make([]uint32, 0, len(waiters))
	for frame, err := range saves(waiters) {
		if err != nil {
			return 0, fmt.Errorf("save waiting objects: %w", err)
		}
		sizes = append(sizes, uint32(len(frame)))
	}
	if t, crowded := w.live.crowds(waiters, sizes, w.maxCount, w.maxBytes); crowded { // before the disk is touched, which a crash would leave so
		return 0, fmt.Errorf("save waiting objects in %s: %w: %d objects of %d bytes", w.log.path, ErrCrowded, t.count, t.bytes)
	}
	at := w.log.size
	if err := w.log.append(saves(waiters), true); err != nil {
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
	if len(w.live.byID) == 0 { // as mostly
		return false
	}
	_, ok := w.live.byID[KeyOf(id)]
	return ok
}

// Modified returns the version of the object with an id, and whether it is there, without touching the disk.
func (w *Waiting) Modified(id string) (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, ok := w.live.byID[KeyOf(id)]
	if !ok || w.live.slots[n].modified == 0 {
		return time.Time{}, ok
	}
	return time.UnixMicro(w.live.slots[n].modified).UTC(), true
}

// IsAwaited says whether anything waits for an object that has not come: where nothing does, [Waiting.Arrive] yields nothing.
func (w *Waiting) IsAwaited(ref Key) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.live.isAwaited(ref)
}

// Arrive takes note that an object has come, and yields those that now wait for nothing, in the order in which they were saved;
// parked ones their run knows. Nothing else is read from disk: what waits for a hundred thousand others is read once, when the
// last of them has come, and else by [Waiting.TakePartial]. Objects may be saved and removed on the way; what is gone before its
// turn is not yielded.
func (w *Waiting) Arrive(ref Key) iter.Seq2[Waiter, error] {
	return func(yield func(Waiter, error) bool) {
		w.mu.Lock()
		keys := w.live.arrive(ref)
		w.mu.Unlock()
		w.each(keys, (*slot).handedOut)(yield)
	}
}

// TakePartial yields at most so many of the objects of which a part of what they wait for has come, each once.
func (w *Waiting) TakePartial(most int) iter.Seq2[Waiter, error] {
	return func(yield func(Waiter, error) bool) {
		w.mu.Lock()
		keys := w.live.takePartial(most)
		w.mu.Unlock()
		w.each(keys, (*slot).handedOut)(yield)
	}
}

// Restart forgets what has come, as a run begins, but for what counts as there already. It yields what waits for nothing else,
// and what is to be sent again.
func (w *Waiting) Restart(counts func(ref Key) bool) iter.Seq2[Waiter, error] {
	return func(yield func(Waiter, error) bool) {
		w.mu.Lock()
		w.live.forgetArrivals()
		refs := slices.Collect(maps.Keys(w.live.byRef))
		w.mu.Unlock()
		refs = slices.DeleteFunc(refs, func(ref Key) bool { return !counts(ref) })
		w.mu.Lock()
		for _, ref := range refs {
			w.live.arrive(ref)
		}
		wanted := func(s *slot) bool { return s.kind == Unimported || s.handedOut() }
		keys := w.live.keys(wanted)
		w.mu.Unlock()
		w.each(keys, wanted)(yield)
	}
}

// All yields the objects of some kinds, or of all, that are there when it is called, in the order in which they were saved; what
// is removed before its turn is not yielded.
func (w *Waiting) All(kinds ...WaiterKind) iter.Seq2[Waiter, error] {
	return func(yield func(Waiter, error) bool) {
		w.mu.Lock()
		wanted := func(s *slot) bool { return len(kinds) == 0 || slices.Contains(kinds, s.kind) }
		keys := w.live.keys(wanted)
		w.mu.Unlock()
		w.each(keys, wanted)(yield)
	}
}

// each reads one object after the other, as long as it is wanted, without holding the lock while the caller works.
func (w *Waiting) each(keys []Key, wanted func(*slot) bool) iter.Seq2[Waiter, error] {
	return func(yield func(Waiter, error) bool) {
		for _, k := range keys {
			var waiter Waiter
			var err error
			w.mu.Lock()
			n, ok := w.live.byID[k]
			if ok = ok && wanted(&w.live.slots[n]); ok {
				waiter, ok, err = w.read(k)
			}
			w.mu.Unlock()
			if (ok || err != nil) && !yield(waiter, err) {
				return
			}
		}
	}
}

// Unparked returns how many of the objects wait beyond the run that saved them.
func (w *Waiting) Unparked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.live.byID) - w.live.kinds[Parked].count
}

// Unimported returns how many of the objects are to be sent again.
func (w *Waiting) Unimported() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.live.kinds[Unimported].count
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
	frames := func(yield func([]byte, error) bool) { yield(appendRemoves(nil, keys), nil) }
	if err := w.log.append(frames, false); err != nil {
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

// read returns the object under a key. One that cannot be read any more is lost: it is forgotten, and the error tells.
func (w *Waiting) read(k Key) (Waiter, bool, error) {
	n, ok := w.live.byID[k]
	if !ok {
		return Waiter{}, false, nil
	}
	s := w.live.slots[n]
	frame, err := w.log.read(s.at, s.size)
	var op operation
	if err == nil {
		if op, err = decodeFrame(frame); err != nil {
			err = fmt.Errorf("%w at %d: %w", errDamaged, s.at, err)
		}
	}
	if err == nil && (op.saved == nil || KeyOf(op.saved.Object.ID) != k) {
		err = fmt.Errorf("%w at %d: it is another one", errDamaged, s.at)
	}
	if err != nil {
		err = fmt.Errorf("read waiting object from %s: %w", w.log.path, err)
		w.lose(k, err)
		return Waiter{}, false, err
	}
	return *op.saved, true, nil
}

// lose forgets an object that cannot be read any more: else the file could not be rewritten for it, and would grow for ever.
func (w *Waiting) lose(k Key, why error) {
	if !errors.Is(why, errDamaged) {
		return // it may be read later
	}
	w.live.drop(k)
	w.lossy = true
	if w.damage == nil {
		w.damage = why
	}
}

// TakeDamage says why the first of the objects was lost that were lost since it was last called, nil where none were. The next
// [Open] tells of it, too.
func (w *Waiting) TakeDamage() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.damage
	w.damage = nil
	return err
}

// empty forgets everything on behalf of an index with another id.
func (w *Waiting) empty(id uuid.UUID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.live, w.damage, w.lossy = newPlaces(), nil, false
	w.log.id, w.log.stale = id, true
	return w.log.recreate()
}

func (w *Waiting) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.log.file != nil && len(w.live.byID) == 0 && !w.lossy && w.log.size > w.log.head {
		_ = w.clear() // which only makes it smaller
	}
	return w.log.close()
}
