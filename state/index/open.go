package index

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
)

// ErrHeld is returned by [Open] when another process uses the folder; the error that wraps it says which.
var ErrHeld = errors.New("held by another process")

// Identity is what an index belongs to. What was sent by one connector, to one platform, in one way, says nothing about
// another.
type Identity struct {
	Connector string `json:"connector"` // id of the connector
	Platform  string `json:"platform"`  // id or URL of the platform
	Mapping   string `json:"mapping"`   // the settings and the version that decide what an object looks like
}

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
}

// NeverBefore is the [Opening.Reason] of an index in a folder that held none.
const NeverBefore = "there was none"

const (
	identityFile = "index.json"
	lockFile     = "index.lock"
	tmpSuffix    = ".tmp"
	// layout is the version of the files; another one is another index.
	layout = 1
)

type identityText struct {
	Layout int    `json:"layout"`
	ID     string `json:"id"`
	Identity
}

// Open opens the index in a folder, or begins a new one there where there is none, where it is damaged or where it is
// another connector's, platform's or mapping's; [Opening] tells. Without a folder that can be written to it begins a
// temporary one. It fails with [ErrHeld] when another process has the folder open, when ctx ends, and when not even
// the folder for temporary files can be used.
func Open(ctx context.Context, dir string, identity Identity, opts Options) (*Index, Opening, error) {
	opts = opts.withDefaults()
	x, opening, err := openIn(ctx, dir, identity, opts)
	if err == nil || errors.Is(err, ErrHeld) || ctx.Err() != nil {
		return x, opening, err
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
	opening.Temporary, opening.Reason = true, reason
	return x, opening, nil
}

func (o Options) withDefaults() Options {
	if o.Batch <= 0 {
		o.Batch = 16384
	}
	if o.MaxWaiting <= 0 {
		o.MaxWaiting = 200_000
	}
	if o.MaxWaitingBytes <= 0 {
		o.MaxWaitingBytes = 512 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	return o
}

func openIn(ctx context.Context, dir string, identity Identity, opts Options) (*Index, Opening, error) {
	if dir == "" {
		return nil, Opening{}, errors.New("none is configured")
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, Opening{}, err
	}
	lock, err := takeLock(dir)
	if err != nil {
		return nil, Opening{}, err
	}
	x := &Index{
		dir: dir, identity: identity, opts: opts, lock: lock, create: createFile,
		writing: make(chan struct{}, 1), merging: make(chan struct{}, 1),
		full: make(chan struct{}, 1), grown: make(chan struct{}, 1), merged: make(chan struct{}, 1),
		pending: make(map[Key]Record), next: 1,
	}
	opening, err := x.start(ctx)
	if err != nil {
		x.closeTables()
		lock.Close()
		return nil, Opening{}, err
	}
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
	if reason != "" {
		opening.Fresh, opening.Reason = true, reason
		if err := x.begin(); err != nil {
			return opening, err
		}
	}
	x.removeLeftovers()
	var err error
	x.waiting, opening.WaitingLost, err = openWaiting(filepath.Join(x.dir, waitingFile), x.id, x.opts)
	if err != nil {
		return opening, err
	}
	if opening.Fresh {
		opening.WaitingLost = ""
	}
	opening.ID, opening.Entries, opening.Waiting = x.id.String(), x.count, x.waiting.Len()
	return opening, nil
}

// begin makes the index an empty one with an id of its own. The new identity file is the moment at which everything older
// stops to count.
func (x *Index) begin() error {
	x.closeTables()
	x.count, x.next = 0, 1
	id, err := uuid.NewRandomFromReader(x.opts.Rand)
	if err != nil {
		return fmt.Errorf("make index id: %w", err)
	}
	x.id, x.named = id, false
	return x.writeIdentity()
}

// writeIdentity writes the identity file where that has not succeeded yet.
func (x *Index) writeIdentity() error {
	if x.named {
		return nil
	}
	text, err := json.MarshalIndent(identityText{layout, x.id.String(), x.identity}, "", "  ")
	if err != nil {
		return fmt.Errorf("write index identity: %w", err)
	}
	if err := replaceFile(filepath.Join(x.dir, identityFile), text); err != nil {
		return err
	}
	x.named = true
	return nil
}

// load reads the identity and all tables; it returns why that cannot be.
func (x *Index) load(ctx context.Context) (reason string) {
	text, err := os.ReadFile(filepath.Join(x.dir, identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return NeverBefore
	}
	if err != nil {
		return fmt.Sprintf("its identity cannot be read: %v", err)
	}
	var found identityText
	if err := json.Unmarshal(text, &found); err != nil {
		return fmt.Sprintf("its identity is damaged: %v", err)
	}
	if reason := found.differs(x.identity); reason != "" {
		return reason
	}
	if x.id, err = uuid.Parse(found.ID); err != nil {
		return fmt.Sprintf("its identity is damaged: %v", err)
	}
	if err := x.loadTables(ctx); err != nil {
		return fmt.Sprintf("it is damaged: %v", err)
	}
	x.named = true
	return ""
}

func (t identityText) differs(want Identity) string {
	switch {
	case t.Layout != layout:
		return fmt.Sprintf("its files have layout %d, this version writes %d", t.Layout, layout)
	case t.Connector != want.Connector:
		return fmt.Sprintf("it belongs to connector %q, this is %q", t.Connector, want.Connector)
	case t.Platform != want.Platform:
		return fmt.Sprintf("it belongs to platform %q, this is %q", t.Platform, want.Platform)
	case t.Mapping != want.Mapping:
		return fmt.Sprintf("it was made with mapping %q, now it is %q", t.Mapping, want.Mapping)
	}
	return ""
}

// loadTables opens the tables that count: of nested ranges the widest, together without a gap.
func (x *Index) loadTables(ctx context.Context) error {
	ranges, err := tableRanges(x.dir)
	if err != nil {
		return err
	}
	for _, r := range ranges {
		if r[1] < x.next {
			continue // within the one before
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		name := tableName(r[0], r[1])
		t, err := loadTable(filepath.Join(x.dir, name), x.id)
		if errors.Is(err, errForeign) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s %w", name, err)
		}
		x.tables = append(x.tables, t)
		if t.first != x.next {
			return fmt.Errorf("a file before %s is missing", name)
		}
		x.next, x.count = t.last+1, int64(t.total)
	}
	return nil
}

// tableRanges lists the ranges of the tables in a folder, by their beginning and the widest first.
func tableRanges(dir string) ([][2]uint64, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var ranges [][2]uint64
	for _, f := range files {
		if first, last, ok := parseTableName(f.Name()); ok {
			ranges = append(ranges, [2]uint64{first, last})
		}
	}
	slices.SortFunc(ranges, func(a, b [2]uint64) int {
		if a[0] != b[0] {
			return int(int64(a[0] - b[0]))
		}
		return int(int64(b[1] - a[1]))
	})
	return ranges, nil
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
	err := x.begin()
	if err == nil {
		x.removeLeftovers()
	} else {
		x.health.fail(err, x.opts.Now())
	}
	if err := errors.Join(err, x.waiting.empty(x.id)); err != nil {
		return fmt.Errorf("empty index in %s: %w", x.dir, err)
	}
	return nil
}

func (x *Index) closeTables() {
	for _, t := range x.tables {
		t.file.Close()
	}
	x.tables = nil
}

// takeLock takes the folder for this process and leaves word who has it.
func takeLock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	if err := tryLock(f); err != nil {
		defer f.Close()
		var pid int
		var host string
		if n, _ := fmt.Fscanf(f, "%d %q", &pid, &host); n == 2 && errors.Is(err, ErrHeld) {
			return nil, fmt.Errorf("open index in %s: %w (process %d on host %q); run one connector for each CONNECTOR_STATE_DIR", dir, err, pid, host)
		}
		return nil, fmt.Errorf("open index in %s: %w", dir, err)
	}
	host, _ := os.Hostname() // for people only
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt(fmt.Appendf(nil, "%d %q\n", os.Getpid(), host), 0)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func createFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o640)
}

// replaceFile makes text the content of a file, as a whole or not at all.
func replaceFile(path string, text []byte) error {
	f, err := createFile(path + tmpSuffix)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(path+tmpSuffix, path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	return err
}

// syncDir makes new names in a folder durable, where the system can do that.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}
