package index

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// Kind says why an object waits.
type Kind uint8

const (
	// Parked objects wait in the run under way for what they refer to.
	Parked Kind = iota + 1
	// HeldBack objects are relations that were not sent, because nothing brought one of their ends.
	HeldBack
	// Cleaned objects were sent with references cut away, and are sent again when what they refer to comes.
	Cleaned
)

// Waiter is an object that waits for others.
type Waiter struct {
	Object pipeline.Object
	// Missing are the ids that it waits for.
	Missing []string
	Kind    Kind
	Dataset string
}

// Waiting keeps objects that wait for others on disk, and in memory only where each lies and what it waits for: about 100
// bytes an object. It is bounded; the oldest fall out first. Its methods may be called from several goroutines.
type Waiting struct {
	path     string
	maxCount int
	maxBytes int64

	mu    sync.Mutex
	id    uuid.UUID
	file  *os.File // nil when closed
	size  int64    // where the next frame goes
	torn  bool     // bytes may lie behind size that do not count
	stale bool     // the file still has the id of an index that was emptied

	slots   []slot         // in the order of the file
	byID    map[Key]uint32 // slot of an object that is there
	byRef   map[Key]uint32 // last link of those that wait for an id
	links   []link         // of removed objects, too, until the file is rewritten
	oldest  int            // no live slot before it
	bytes   int64          // of the frames of live slots
	parked  int            // of the live slots
	evicted int64
	frame   []byte // reused
}

// slot is where an object lies; size is 0 once it is gone.
type slot struct {
	key  Key
	at   int64
	size uint32
	kind Kind
}

type link struct{ slot, previous uint32 }

const noLink = ^uint32(0)

// Save keeps objects; when it returns nil they survive the process and the machine. An object that was there under the
// same id is replaced and counts as new. Beyond the bounds the oldest are forgotten, and Save returns how many. After an
// error nothing of this call is kept.
func (w *Waiting) Save(ctx context.Context, waiters []Waiter) (evicted int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.usable(ctx); err != nil {
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
	at := w.size
	if err := w.append(frames, true); err != nil {
		return 0, fmt.Errorf("save waiting objects in %s: %w", w.path, err)
	}
	for i := range waiters {
		w.place(&waiters[i], at, sizes[i])
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
	if err := w.usable(ctx); err != nil {
		return fmt.Errorf("remove waiting objects: %w", err)
	}
	keys = slices.DeleteFunc(keys, func(k Key) bool { _, ok := w.byID[k]; return !ok })
	err := w.remove(keys)
	if err == nil {
		err = w.shrink()
	}
	if err != nil {
		return fmt.Errorf("remove waiting objects from %s: %w", w.path, err)
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
	_, ok := w.byID[KeyOf(id)]
	return ok
}

// WaitersOf yields the objects that wait for an id when it is called, in the order in which they were saved. They may be
// saved and removed on the way; what is gone before its turn is not yielded. Where nothing waits it costs one lookup in
// memory.
func (w *Waiting) WaitersOf(ref string) iter.Seq2[Waiter, error] {
	return func(yield func(Waiter, error) bool) {
		for waiter, err := range w.each(w.keysWaitingFor(KeyOf(ref))) {
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

func (w *Waiting) keysWaitingFor(ref Key) []Key {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, ok := w.byRef[ref]
	if !ok {
		return nil
	}
	var keys []Key
	for ; n != noLink; n = w.links[n].previous {
		s := w.slots[w.links[n].slot]
		if s.size > 0 && (len(keys) == 0 || keys[len(keys)-1] != s.key) { // an object may name an id twice
			keys = append(keys, s.key)
		}
	}
	slices.Reverse(keys)
	return keys
}

// All yields the objects that are there when it is called, in the order in which they were saved; what is removed before
// its turn is not yielded.
func (w *Waiting) All() iter.Seq2[Waiter, error] {
	return func(yield func(Waiter, error) bool) {
		w.mu.Lock()
		keys := make([]Key, 0, len(w.byID))
		for _, s := range w.slots[w.oldest:] {
			if s.size > 0 {
				keys = append(keys, s.key)
			}
		}
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

// HeldBack returns how many of the objects are not parked by a run under way.
func (w *Waiting) HeldBack() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.byID) - w.parked
}

// Len returns how many objects wait.
func (w *Waiting) Len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.byID)
}

// Size returns the bytes on disk.
func (w *Waiting) Size() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.size
}

// Evicted returns how many objects fell out for want of room since the index was opened.
func (w *Waiting) Evicted() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.evicted
}

// usable says why nothing can be written now. A file that an earlier failure left behind is replaced first.
func (w *Waiting) usable(ctx context.Context) error {
	switch {
	case w.file == nil:
		return fs.ErrClosed
	case ctx.Err() != nil:
		return ctx.Err()
	case w.stale:
		return w.recreate()
	}
	return nil
}

// place notes where a saved object lies.
func (w *Waiting) place(waiter *Waiter, at int64, size uint32) {
	k := KeyOf(waiter.Object.ID)
	w.drop(k)
	n := uint32(len(w.slots))
	w.slots = append(w.slots, slot{k, at, size, waiter.Kind})
	w.byID[k] = n
	w.bytes += int64(size)
	if waiter.Kind == Parked {
		w.parked++
	}
	for _, ref := range waiter.Missing {
		rk := KeyOf(ref)
		previous, ok := w.byRef[rk]
		if !ok {
			previous = noLink
		}
		w.byRef[rk] = uint32(len(w.links))
		w.links = append(w.links, link{n, previous})
	}
}

// drop forgets where an object lies.
func (w *Waiting) drop(k Key) {
	n, ok := w.byID[k]
	if !ok {
		return
	}
	w.bytes -= int64(w.slots[n].size)
	w.slots[n].size = 0
	if w.slots[n].kind == Parked {
		w.parked--
	}
	delete(w.byID, k)
}

func (w *Waiting) remove(keys []Key) error {
	if len(keys) == 0 {
		return nil
	}
	if err := w.append(appendRemoves(nil, keys), false); err != nil {
		return err
	}
	for _, k := range keys {
		w.drop(k)
	}
	return nil
}

// evict removes the oldest objects beyond the bounds.
func (w *Waiting) evict() int {
	var keys []Key
	count, bytes := len(w.byID), w.bytes
	for i := w.oldest; (count > w.maxCount || bytes > w.maxBytes) && i < len(w.slots); i++ {
		if s := w.slots[i]; s.size > 0 && s.kind != Parked {
			keys = append(keys, s.key)
			count--
			bytes -= int64(s.size)
		}
	}
	w.evicted += int64(len(keys))
	// Where the disk does not take note they are gone from memory all the same: the bound is memory's, too.
	w.remove(keys)
	for _, k := range keys {
		w.drop(k)
	}
	for w.oldest < len(w.slots) && w.slots[w.oldest].size == 0 {
		w.oldest++
	}
	return len(keys)
}

func (w *Waiting) read(k Key) (Waiter, bool, error) {
	n, ok := w.byID[k]
	if !ok {
		return Waiter{}, false, nil
	}
	if w.file == nil {
		return Waiter{}, false, fmt.Errorf("read waiting object: %w", fs.ErrClosed)
	}
	s := w.slots[n]
	w.frame = slices.Grow(w.frame[:0], int(s.size))[:s.size]
	_, err := w.file.ReadAt(w.frame, s.at)
	var op operation
	if err == nil {
		op, err = decodeFrame(w.frame)
	}
	if err == nil && (op.saved == nil || KeyOf(op.saved.Object.ID) != k) {
		err = errors.New("it is another one")
	}
	if err != nil {
		return Waiter{}, false, fmt.Errorf("read waiting object from %s: %w", w.path, err)
	}
	return *op.saved, true, nil
}

// reset forgets all places; the file is the caller's business.
func (w *Waiting) reset() {
	w.slots, w.links, w.oldest, w.bytes, w.parked = nil, nil, 0, 0, 0
	w.byID, w.byRef = map[Key]uint32{}, map[Key]uint32{}
}

func frameSize(head []byte) int64 { return frameHead + int64(binary.LittleEndian.Uint32(head)) }
