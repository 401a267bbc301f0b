package index

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"slices"
	"sync"
)

const (
	// pendingBatches is how many batches may wait in memory: beyond it Put waits for the disk, or forgets records when the
	// disk takes none.
	pendingBatches = 2
	// maxTables bounds open files and the filters to ask. Merging keeps them near 10.
	maxTables = 64
)

// Index is the set of delivered objects. Its methods may be called from several goroutines.
type Index struct {
	dir       string
	identity  Identity
	opts      Options
	lock      *os.File
	temporary bool
	waiting   *Waiting
	create    createFunc

	// writing and merging are held by the one that adds a table and by the one that replaces some; whoever needs both
	// takes merging first.
	writing chan struct{}
	merging chan struct{}
	named   bool    // the identity file names id; belongs to writing
	room    []entry // reused to sort a batch; belongs to writing

	stop   context.CancelFunc // ends the goroutines when they are idle
	life   context.Context    // of merges
	abort  context.CancelFunc // ends it
	done   sync.WaitGroup
	full   chan struct{} // says that a batch is ready to be written
	grown  chan struct{} // says that there is a new table
	merged chan struct{} // says that there are fewer tables, or that merging fails

	mu        sync.RWMutex
	names     names          // change with writing held, too
	pending   map[Key]Record // put, and not yet being written
	frozen    map[Key]Record // being written
	spare     map[Key]Record // empty, with the room of an earlier batch
	tables    []*table       // oldest first
	next      uint64         // number of the next table
	count     int64
	seen      seen
	often     often
	forgotten int64
	health    health
	closed    bool
}

// Lookup returns the record that was put last under a key. What cannot be read counts as not delivered: the price is an
// object that is sent again.
func (x *Index) Lookup(k Key) (Record, bool) {
	if r, ok := x.often.record(k); ok {
		return r, true
	}
	x.mu.RLock()
	r, ok, err := x.find(k)
	if ok {
		x.seen.add(k)
	}
	x.mu.RUnlock()
	if err != nil {
		x.mu.Lock()
		x.health.note(err)
		x.mu.Unlock()
	}
	return r, ok
}

// find wants mu held for reading.
func (x *Index) find(k Key) (Record, bool, error) {
	r, ok, err := x.search(k)
	if ok && err == nil && x.seen.holds(k) {
		x.often.add(k, r)
	}
	return r, ok, err
}

// search looks in memory and in the tables. After an error no older table is asked: what it holds may have been superseded.
func (x *Index) search(k Key) (Record, bool, error) {
	if r, ok := x.pending[k]; ok {
		return r, true, nil
	}
	if r, ok := x.frozen[k]; ok {
		return r, true, nil
	}
	for i := len(x.tables) - 1; i >= 0; i-- {
		if r, ok, err := x.tables[i].find(k); ok || err != nil {
			return r, ok, err
		}
	}
	return Record{}, false, nil
}

// Put remembers a delivered object; it belongs after the broker's confirm. The record is seen by [Index.Lookup] at once and
// survives the process after the next [Index.Flush], or when a batch has been written in the background. Put waits for the
// disk only when that lags several batches behind; it does nothing on a closed index.
func (x *Index) Put(k Key, r Record) {
	x.mu.Lock()
	if x.closed {
		x.mu.Unlock()
		return
	}
	if !x.seen.holds(k) {
		_, known, err := x.find(k)
		x.health.note(err)
		if !known {
			x.count++
		}
	}
	x.pending[k] = r
	x.often.drop(k)
	n := len(x.pending)
	limit := pendingBatches * x.opts.Batch
	if n > limit && x.health.failing {
		x.forgetOne(k)
	}
	lagging := n > limit && !x.health.failing
	x.mu.Unlock()
	if n >= x.opts.Batch {
		signal(x.full)
	}
	if lagging {
		// The error is kept for the next Flush: this call has no way to return it.
		x.write(context.Background())
	}
}

// forgetOne drops any pending record but the given one; it wants mu held.
func (x *Index) forgetOne(but Key) {
	for k := range x.pending {
		if k == but {
			continue
		}
		delete(x.pending, k)
		x.often.drop(k)
		x.forgotten++
		x.seen.clear()
		if _, known, _ := x.find(k); !known {
			x.count--
		}
		return
	}
}

// Flush writes what is pending: when it returns nil for a working disk, everything put before survives the process and
// the machine. An error of the disk is returned once. After it the index works from memory, tries the disk again from
// time to time, and returns nil until the disk has worked and failed anew: the caller goes on, and at worst sends
// objects again. An error of ctx is returned as such.
func (x *Index) Flush(ctx context.Context) error {
	err := x.write(ctx)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return fmt.Errorf("flush index: %w", err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	err, x.health.report = x.health.report, nil
	if err != nil {
		return fmt.Errorf("flush index in %s (it goes on from memory; objects may be sent again after a restart): %w", x.dir, err)
	}
	return nil
}

// write makes a table of what is pending. Errors of the disk are also noted in health.
func (x *Index) write(ctx context.Context) error {
	for room := false; !room; {
		if err := x.waitForRoom(ctx); err != nil {
			return err
		}
		if err := acquire(ctx, x.writing); err != nil {
			return err
		}
		if room = x.hasRoom(); !room {
			<-x.writing // the last room went to another that wrote meanwhile
		}
	}
	defer func() { <-x.writing }()

	x.mu.Lock()
	if len(x.pending) == 0 || x.health.failing && x.opts.Now().Before(x.health.retryAt) {
		x.mu.Unlock()
		return nil
	}
	x.frozen, x.pending, x.spare = x.pending, x.spare, nil
	if x.pending == nil {
		x.pending = make(map[Key]Record)
	}
	h := header{id: x.names.ID, first: x.next, last: x.next, total: uint64(x.count)}
	crowded := len(x.tables) >= maxTables
	x.mu.Unlock()

	var t *table
	err := x.ensureIdentity()
	if err == nil && crowded {
		err = errors.New("older files cannot be merged")
		signal(x.grown)
	}
	if err == nil {
		t, err = writeTable(x.create, x.dir, h, len(x.frozen), x.sorted(x.frozen))
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if err != nil {
		x.thaw()
		x.health.fail(err, x.opts.Now())
		return err
	}
	x.health.recover()
	x.tables = append(x.tables, t)
	x.next++
	x.spare = x.frozen
	clear(x.spare)
	x.frozen = nil
	signal(x.grown)
	return nil
}

// ensureIdentity writes the identity file where that has not succeeded yet.
func (x *Index) ensureIdentity() error {
	if x.named {
		return nil
	}
	err := writeIdentity(x.dir, x.names, x.identity)
	x.named = err == nil
	return err
}

// thaw gives back what could not be written, except what was put anew since. It wants mu held.
func (x *Index) thaw() {
	newer := x.pending
	x.pending, x.frozen = x.frozen, nil
	maps.Copy(x.pending, newer)
	for k := range x.pending {
		if len(x.pending) <= pendingBatches*x.opts.Batch {
			return
		}
		x.forgetOne(k)
	}
}

// hasRoom says that merging does not lag behind, or that waiting for it would not help.
func (x *Index) hasRoom() bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.tables) < maxTables || x.health.failing || x.health.unmerged || x.closed
}

// waitForRoom waits while merging lags behind. One who was woken wakes the next.
func (x *Index) waitForRoom(ctx context.Context) error {
	for waited := false; ; waited = true {
		if x.hasRoom() {
			if waited {
				signal(x.merged)
			}
			return nil
		}
		select {
		case <-x.merged:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// writeBatches writes full batches until ctx ends.
func (x *Index) writeBatches(ctx context.Context) {
	for {
		select {
		case <-x.full:
		case <-ctx.Done():
			return
		}
		x.mu.RLock()
		ready := len(x.pending) >= x.opts.Batch
		x.mu.RUnlock()
		if ready {
			x.write(ctx)
		}
	}
}

// sorted wants writing held, for it uses the room of the last batch again.
func (x *Index) sorted(m map[Key]Record) iter.Seq2[entry, error] {
	list := slices.Grow(x.room[:0], len(m))
	for k, r := range m {
		list = append(list, entry{k, r})
	}
	slices.SortFunc(list, func(a, b entry) int { return compareKeys(a.Key, b.Key) })
	x.room = list
	return func(yield func(entry, error) bool) {
		for _, e := range list {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// Len returns how many objects are remembered.
func (x *Index) Len() int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.count
}

// Size returns the bytes on disk, waiting objects not included.
func (x *Index) Size() int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var n int64
	for _, t := range x.tables {
		n += t.size
	}
	return n
}

// Forgotten returns how many records were dropped from memory because the disk took none; their objects are sent again.
func (x *Index) Forgotten() int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.forgotten
}

// ID returns the id of the index, the same as [Opening.ID] until [Index.Empty] gives it another.
func (x *Index) ID() string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.names.ID.String()
}

// Folder names the folder of the index: it stays the same when the index begins anew, as long as the folder can be read and
// belongs to the same connector and platform.
func (x *Index) Folder() string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.names.Folder.String()
}

// Dir is the folder of the index, the temporary one where that is used.
func (x *Index) Dir() string { return x.dir }

// Waiting returns the store of waiting objects beside the index. It ends with the index.
func (x *Index) Waiting() *Waiting { return x.waiting }

// HoldsBack reports whether objects of earlier runs wait for others.
func (x *Index) HoldsBack() bool { return x.waiting.Unparked() > 0 }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func acquire(ctx context.Context, c chan struct{}) error {
	select {
	case c <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
