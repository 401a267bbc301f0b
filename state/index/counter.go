package index

import (
	"context"
	"fmt"
	"io/fs"
)

// Counter returns what [Index.SetCounter] has noted last, also in an earlier process and of an index that was emptied since; 0 in
// a folder with a new name.
func (x *Index) Counter() uint64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.names.Counter
}

// SetCounter notes how many commits the state has counted that is known to be stored: one that has counted fewer is older than
// the index. Where the disk refuses, which the next [Index.Flush] reports, the running process knows the number all the same.
// The error says that ctx ended, or that the index is closed.
func (x *Index) SetCounter(ctx context.Context, n uint64) error {
	if err := acquire(ctx, x.writing); err != nil {
		return fmt.Errorf("note the commit in the index: %w", err)
	}
	defer func() { <-x.writing }()
	x.mu.Lock()
	if x.closed {
		x.mu.Unlock()
		return fmt.Errorf("note the commit in the index: %w", fs.ErrClosed)
	}
	x.names.Counter, x.names.WaitingLost = n, ""
	x.mu.Unlock()
	x.named = false
	err := x.ensureIdentity()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.health.note(err)
	return nil
}
