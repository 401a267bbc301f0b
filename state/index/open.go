package index

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
)

// Opening says what [Open] found.
type Opening struct {
	// ID is random and names this index for as long as it keeps its records; the connector's state holds it.
	ID string
	// Fresh means that the index is empty because it had to start anew, and Reason says why.
	Fresh  bool
	Reason string
	// Temporary means that the index is gone when it is closed, because no folder could be written to; Reason says why.
	Temporary bool
	// Entries is how many delivered objects are known, Waiting how many wait.
	Entries int64
	Waiting int
	// WaitingLost says what was wrong with the file of waiting objects where some of them were lost though the index is the
	// same, else it is "".
	WaitingLost string
	// Exposed says why others than the connector's user may read the folder, "" where they may not.
	Exposed string
}

// ErrFull is returned by [Open] when the disk has no room for an index: one elsewhere would be gone with the process, and with it
// what waits. It passes.
var ErrFull = errors.New("the disk of CONNECTOR_STATE_DIR is full; make room on it")

// Open opens the index in a folder, or begins a new one there where there is none, where it is damaged or where it is
// another connector's, platform's or mapping's; [Opening] tells. Without a folder that can be written to it begins a
// temporary one. It fails with [ErrHeld] when another process has the folder open, with [ErrFull] when it could be written to
// if there were room, when ctx ends, and when not even the folder for temporary files can be used.
func Open(ctx context.Context, dir string, identity Identity, opts Options) (*Index, Opening, error) {
	opts = opts.withDefaults()
	x, opening, err := openIn(ctx, dir, identity, opts)
	if err == nil || errors.Is(err, ErrHeld) || ctx.Err() != nil {
		return x, opening, err
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return nil, Opening{}, fmt.Errorf("%w: %w", ErrFull, err)
	}
	reason := fmt.Sprintf("no folder to write to: %v", err)
	tmp, err := os.MkdirTemp(opts.TempDir, "connector-threatmatch-")
	if err != nil {
		return nil, Opening{}, fmt.Errorf("open index: %s; make CONNECTOR_STATE_DIR writable, or the folder for temporary files: %w", reason, err)
	}
	x, opening, err = openIn(ctx, tmp, identity, opts)
	if err != nil {
		os.RemoveAll(tmp)
		return nil, Opening{}, err
	}
	x.temporary = true
	opening.Temporary, opening.Reason = true, reason+"; give it a folder that the connector's user may write to"
	return x, opening, nil
}

func openIn(ctx context.Context, dir string, identity Identity, opts Options) (*Index, Opening, error) {
	if dir == "" {
		return nil, Opening{}, errors.New("none is configured")
	}
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, Opening{}, err
	}
	lock, err := takeLock(dir)
	if err != nil {
		return nil, Opening{}, err
	}
	exposed := closeToOthers(dir)
	x := &Index{
		dir: dir, identity: identity, opts: opts, lock: lock, create: createFile,
		writing: make(chan struct{}, 1), merging: make(chan struct{}, 1),
		full: make(chan struct{}, 1), grown: make(chan struct{}, 1), merged: make(chan struct{}, 1),
		pending: make(map[Key]Record), next: 1,
	}
	opening, err := x.start(ctx)
	if err != nil {
		closeTables(x.tables)
		lock.Close()
		return nil, Opening{}, err
	}
	opening.Exposed = exposed
	x.life, x.abort = context.WithCancel(context.WithoutCancel(ctx))
	ctx, x.stop = context.WithCancel(x.life)
	x.done.Go(func() { x.writeBatches(ctx) })
	x.done.Go(func() { x.mergeTables(ctx) })
	signal(x.grown)
	return x, opening, nil
}

// start loads what the folder holds, or begins anew.
func (x *Index) start(ctx context.Context) (Opening, error) {
	var opening Opening
	reason := x.load(ctx)
	if err := ctx.Err(); err != nil {
		return opening, fmt.Errorf("open index in %s: %w", x.dir, err)
	}
	var err error
	if reason == "" {
		x.removeLeftovers()
		x.waiting, err = openWaiting(filepath.Join(x.dir, waitingFile), x.names.ID, x.opts, x.noteWaitingLost)
	} else {
		opening.Fresh, opening.Reason = true, reason
		err = x.startAnew()
	}
	if err != nil {
		return opening, err
	}
	opening.WaitingLost = x.names.WaitingLost
	opening.ID, opening.Entries, opening.Waiting = x.names.ID.String(), x.count, x.waiting.Len()
	return opening, nil
}

// startAnew makes the folder that of an empty index.
func (x *Index) startAnew() (err error) {
	if err := x.rename(); err != nil {
		return err
	}
	// It is on disk before the identity names it: where there is no room for both, the next opening starts anew as well, and misses
	// nothing. It takes the place of an older one after that, which is whole where no identity could be written. An older one is not
	// read: behind a damaged header nothing tells whose objects these are.
	if x.waiting, err = newWaiting(filepath.Join(x.dir, waitingFile), x.names.ID, x.opts, x.ensureIdentity); err != nil {
		return err
	}
	x.removeLeftovers()
	return nil
}

// noteWaitingLost puts on disk that objects that waited are lost, before the file that shows it is mended: the process may die
// before the state says so.
func (x *Index) noteWaitingLost(reason string) error {
	x.names.WaitingLost, x.named = reason, false
	return x.ensureIdentity()
}

// begin makes the index an empty one with an id of its own. The new identity file is the moment at which everything older stops
// to count.
func (x *Index) begin() error {
	if err := x.rename(); err != nil {
		return err
	}
	return x.ensureIdentity()
}

// rename empties the index in memory and gives it another id, in a folder that keeps its name where it has one.
func (x *Index) rename() error {
	closeTables(x.tables)
	x.tables, x.count, x.next = nil, 0, 1
	id, err := uuid.NewRandomFromReader(x.opts.Rand)
	if err != nil {
		return fmt.Errorf("make index id: %w", err)
	}
	x.names.ID, x.names.WaitingLost, x.named = id, "", false
	if x.names.Folder == uuid.Nil {
		x.names.Folder = id
	}
	return nil
}

// load reads the identity and all tables; it returns why that cannot be.
func (x *Index) load(ctx context.Context) (reason string) {
	if x.names, reason = readIdentity(x.dir, x.identity); reason != "" {
		return reason
	}
	var err error
	if x.tables, err = loadTables(ctx, x.dir, x.names.ID); err != nil {
		return fmt.Sprintf("it is damaged: %v", err)
	}
	if n := len(x.tables); n > 0 {
		x.next, x.count = x.tables[n-1].last+1, int64(x.tables[n-1].total)
	}
	x.named = true
	return ""
}

// removeLeftovers deletes files of ours that do not count: unfinished ones, merged ones, those of an earlier identity.
// Other files are nobody's business here. What cannot be deleted does no harm.
func (x *Index) removeLeftovers() {
	files, err := os.ReadDir(x.dir)
	if err != nil {
		return
	}
	keep := map[string]bool{}
	for _, t := range x.tables {
		keep[filepath.Base(t.path)] = true
	}
	for _, f := range files {
		name := f.Name()
		_, _, isTable := parseTableName(strings.TrimSuffix(name, tmpSuffix))
		unfinished := name == identityFile+tmpSuffix || name == waitingFile+tmpSuffix
		if isTable && !keep[name] || unfinished {
			os.Remove(filepath.Join(x.dir, name))
		}
	}
}

// Empty forgets everything, waiting objects too, and gives the index a new id. Also where the disk refuses, the running
// process has forgotten; the error then says that the next one may find the old index, under its old id.
func (x *Index) Empty(ctx context.Context) error {
	if err := acquire(ctx, x.merging); err != nil {
		return fmt.Errorf("empty index: %w", err)
	}
	defer func() { <-x.merging }()
	if err := acquire(ctx, x.writing); err != nil {
		return fmt.Errorf("empty index: %w", err)
	}
	defer func() { <-x.writing }()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return fmt.Errorf("empty index: %w", fs.ErrClosed)
	}
	clear(x.pending)
	x.seen.clear()
	x.often.clear()
	err := x.begin()
	if err == nil {
		x.removeLeftovers()
	} else {
		x.health.fail(err, x.opts.Now())
	}
	if err := errors.Join(err, x.waiting.empty(x.names.ID)); err != nil {
		return fmt.Errorf("empty index in %s: %w", x.dir, err)
	}
	return nil
}

// closeGrace is how long Close may go on merging, within what a container is given to stop. What it does not get done
// costs room on disk until the next run has.
const closeGrace = time.Second

// Close writes what is pending, merges what is due for at most [closeGrace], and releases the folder. Of a temporary index
// nothing stays.
func (x *Index) Close() error {
	x.mu.Lock()
	if x.closed {
		x.mu.Unlock()
		return nil
	}
	x.closed = true
	x.health.failing = false // one last attempt, whatever the disk said before
	x.mu.Unlock()

	errs := []error{x.finish()}
	x.mu.Lock()
	defer x.mu.Unlock()
	closeTables(x.tables)
	x.tables = nil
	errs = append(errs, x.waiting.close(), x.lock.Close())
	if x.temporary {
		errs = append(errs, os.RemoveAll(x.dir))
	}
	return errors.Join(errs...)
}

// finish ends the goroutines and brings the files in order.
func (x *Index) finish() error {
	x.stop()
	signal(x.merged)
	if x.temporary {
		x.abort()
		x.done.Wait()
		return nil
	}
	defer time.AfterFunc(closeGrace, x.abort).Stop()
	defer x.abort()
	x.done.Wait()
	err := x.Flush(context.Background())
	x.mergeDue(x.life)
	return err
}
