package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// tmpSuffix ends the name of a file that is not complete. Nobody else's program takes such a one for a document.
const tmpSuffix = ".tmp"

// DirectorySetting is the setting that names the folder, for the advice to an operator.
const DirectorySetting = "CONNECTOR_SEND_TO_DIRECTORY_PATH"

// Directory puts files into a folder. It is safe for concurrent use.
type Directory struct {
	path  string
	files retention

	mu      sync.Mutex
	stamped time.Time // what the newest file says of when it was written
}

// NewDirectory returns the folder at path, in which [Directory.Expire] removes files of the connector that are older than so many
// days, 0 for none. The folder has to exist, and is not made: in place of one that is not mounted it would fill another disk.
func NewDirectory(path, connector string, days int) *Directory {
	return &Directory{path: path, files: retention{prefix: prefixOf(connector), days: days, now: time.Now}}
}

// Put writes a file that is given in parts, and returns when its content and its name are durable.
func (d *Directory) Put(ctx context.Context, name string, text ...[]byte) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if name == "" || name != filepath.Base(name) {
		return fmt.Errorf("write the file %q: not a name", name)
	}
	path := filepath.Join(d.path, name)
	err := d.write(path, text)
	if err == nil {
		err = syncDir(d.path)
	}
	return d.judge("write the file "+path, err)
}

// write makes the file unless it is there. Nobody else makes one of this name meanwhile, for the name of the unfinished file is
// taken by then.
func (d *Directory) write(path string, text parts) (err error) {
	tmp := path + tmpSuffix
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if _, unfinished := os.Lstat(tmp); unfinished == nil {
			err = errors.Join(err, os.Remove(tmp))
		}
	}()
	switch there, err := holds(path, text); {
	case err != nil:
		return err
	case there:
		return nil
	}
	for _, part := range text {
		if _, err := f.Write(part); err != nil {
			return err
		}
	}
	// Readers go by these times, which the system counts in steps of milliseconds. Where they cannot be set the names still tell.
	at := d.stamp()
	_ = os.Chtimes(tmp, at, at)
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// stamp is now, and later than the last.
func (d *Directory) stamp() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.files.now().Truncate(tick)
	if !now.After(d.stamped) {
		now = d.stamped.Add(tick)
	}
	d.stamped = now
	return now
}

// holds reports whether a file is there with a text; with another one it fails.
func holds(path string, text parts) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	same, err := equal(f, text.reader())
	if err == nil && !same {
		err = taken(path)
	}
	return same, err
}

func taken(name string) error {
	return &LastingError{Problem: "there is another file named " + name, Remedy: "give each connector that writes there a CONNECTOR_NAME of its own"}
}

// equal compares what two readers have.
func equal(a, b io.Reader) (bool, error) {
	const step = 64 << 10
	left, right := make([]byte, step), make([]byte, step)
	for {
		n, err := io.ReadFull(a, left)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return false, err
		}
		m, _ := io.ReadFull(b, right)
		if !bytes.Equal(left[:n], right[:m]) {
			return false, nil
		}
		if n < step {
			return true, nil
		}
	}
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

// judge says of a failure what to do about it.
func (d *Directory) judge(doing string, err error) error {
	lasting := func(problem, remedy string) error {
		return fmt.Errorf("%s: %w", doing, &LastingError{Problem: problem, Remedy: remedy, cause: err})
	}
	var known *LastingError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%s: %w; make room on the disk of %s", doing, err, DirectorySetting)
	case errors.Is(err, fs.ErrNotExist):
		return lasting("the folder "+d.path+" does not exist", "make or mount it, for the connector makes none, or correct "+DirectorySetting)
	case errors.Is(err, syscall.ENOTDIR):
		return lasting(d.path+" is no folder", "correct "+DirectorySetting)
	case errors.Is(err, syscall.EROFS):
		return lasting("the folder "+d.path+" is mounted to be read only", "mount it so that it can be written to")
	case errors.Is(err, fs.ErrPermission):
		return lasting(fmt.Sprintf("the connector's user (uid %d) may not write to the folder %s", os.Geteuid(), d.path), "give that user the folder, or the right to write there")
	case errors.Is(err, syscall.ENAMETOOLONG):
		return lasting("the file system takes no name that long", "give the connector a shorter CONNECTOR_NAME")
	}
	return fmt.Errorf("%s: %w", doing, err)
}
