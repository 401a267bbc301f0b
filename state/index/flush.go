package index

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"
)

const (
	// pendingBatches is how many batches may wait in memory: beyond it Put waits for the disk, or forgets records when the
	// disk takes none.
	pendingBatches = 2
	// maxTables bounds open files and the filters to ask. Merging keeps them near 10.
	maxTables = 64
	// retryAfter is the pause before a disk that failed is tried again.
	retryAfter = 30 * time.Second
)

// health is what is known about the disk. Guarded by Index.mu.
type health struct {
	failing bool // the last write failed: records live in memory only
	retryAt time.Time
	report  error // not yet told to the caller
	told    bool  // since the disk last worked

	unmerged bool      // the last merge failed
	mergeAt  time.Time // when the next may be tried
}

// note keeps an error for the next Flush, unless the caller has heard of the trouble.
func (h *health) note(err error) {
	if err != nil && !h.told {
		h.told = true
		h.report = err
	}
}

func (h *health) fail(err error, now time.Time) {
	h.note(err)
	h.failing = true
	h.retryAt = now.Add(retryAfter)
}

func (h *health) recover() { h.failing, h.told = false, false }

// failMerge also tells the caller once; small tables may go on being written beside it.
func (h *health) failMerge(err error, now time.Time) {
	if !h.unmerged {
		h.note(err)
	}
	h.unmerged = true
	h.mergeAt = now.Add(retryAfter)
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
	if err := x.waitForRoom(ctx); err != nil {
		return err
	}
	if err := acquire(ctx, x.writing); err != nil {
		return err
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
	h := header{id: x.id, first: x.next, last: x.next, total: uint64(x.count)}
	crowded := len(x.tables) >= maxTables
	x.mu.Unlock()

	var t *table
	err := x.writeIdentity()
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

// waitForRoom waits while merging lags behind. One who was woken wakes the next.
func (x *Index) waitForRoom(ctx context.Context) error {
	for waited := false; ; waited = true {
		x.mu.RLock()
		wait := len(x.tables) >= maxTables && !x.health.failing && !x.health.unmerged && !x.closed
		x.mu.RUnlock()
		if !wait {
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
