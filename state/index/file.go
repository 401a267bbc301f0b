package index

import (
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"syscall"
)

// tmpSuffix ends the name of a file that is not whole yet.
const tmpSuffix = ".tmp"

// All checksums are of one kind.
const crcSize = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errForeign is what reading a file returns that carries another index's id.
var errForeign = errors.New("belongs to another index")

// What is on disk is intelligence: it is for the connector's user alone.
const (
	fileMode = 0o600
	dirMode  = 0o700
)

// createFunc is createFile or, in tests, a disk that fails.
type createFunc func(path string) (*os.File, error)

func createFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, fileMode)
}

// replaceFile makes text the content of a file, as a whole or not at all.
func replaceFile(path string, text []byte) error {
	f, err := createFile(path + tmpSuffix)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(text); err != nil {
		return err
	}
	return finishFile(f, path)
}

// finishFile makes a file durable that was written under a temporary name, and gives it its own: from then on it counts.
func finishFile(f *os.File, path string) error {
	if err := nameFile(f, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// nameFile does so for as long as the machine lives: its content is durable, its name not yet.
func nameFile(f *os.File, path string) error {
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(path+tmpSuffix, path)
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
