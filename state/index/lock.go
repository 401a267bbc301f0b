package index

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// ErrHeld is returned by [Open] when another process uses the folder; the error that wraps it says which.
var ErrHeld = errors.New("held by another process")

const lockFile = "index.lock"

// takeLock takes the folder for this process and leaves word who has it.
func takeLock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, err
	}
	free, err := tryLock(f)
	if err == nil && !free {
		err = ErrHeld
		if pid, host, ok := readHolder(f); ok {
			err = fmt.Errorf("%w (process %d on host %q); run one connector for each CONNECTOR_STATE_DIR", err, pid, host)
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open index in %s: %w", dir, err)
	}
	// The note is for people only: a disk that is full does not keep the index from being read.
	host, _ := os.Hostname()
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt(fmt.Appendf(nil, "%d %q\n", os.Getpid(), host), 0)
	}
	return f, nil
}

// readHolder reads the word that was left.
func readHolder(f io.Reader) (pid int, host string, ok bool) {
	n, _ := fmt.Fscanf(f, "%d %q", &pid, &host)
	return pid, host, n == 2
}
