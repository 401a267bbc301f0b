package index

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Looked is what a folder holds of an index, as far as it can be told without taking the folder.
type Looked struct {
	// Fresh means that [Open] would begin an empty index, and Reason says why.
	Fresh  bool
	Reason string
	// Entries is how many delivered objects are known.
	Entries int64
	// Holder says who left word of having the folder open, "" where nobody ever did. Whether that process still runs it does
	// not say.
	Holder string
}

// Look reads the index in a folder as [Open] would, but neither takes nor changes anything, so that a process that has it open
// is not troubled. What that one writes meanwhile can look like damage. A folder that is not there is one without an index.
// It fails when ctx ends or the folder cannot be read.
func Look(ctx context.Context, dir string, identity Identity) (Looked, error) {
	if _, err := os.ReadDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Looked{}, fmt.Errorf("look at index: %w", err)
	}
	found := Looked{Holder: holder(dir)}
	n, reason := readIdentity(dir, identity)
	if reason != "" {
		found.Fresh, found.Reason = true, reason
		return found, nil
	}
	tables, err := loadTables(ctx, dir, n.ID)
	defer closeTables(tables)
	switch {
	case ctx.Err() != nil:
		return found, fmt.Errorf("look at index: %w", ctx.Err())
	case err != nil:
		found.Fresh, found.Reason = true, fmt.Sprintf("it is damaged: %v", err)
	case len(tables) > 0:
		found.Entries = int64(tables[len(tables)-1].total)
	}
	return found, nil
}

func holder(dir string) string {
	f, err := os.Open(filepath.Join(dir, lockFile))
	if err != nil {
		return ""
	}
	defer f.Close()
	pid, host, ok := readHolder(f)
	if !ok {
		return ""
	}
	return fmt.Sprintf("process %d on host %q", pid, host)
}

// LockFile is the file of a folder on which the process that has it open holds a lock.
func LockFile(dir string) string { return filepath.Join(dir, lockFile) }
