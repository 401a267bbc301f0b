package preview

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// bundles writes objects to the files of a folder, as STIX bundles that can be imported by hand. Only the user may read them.
type bundles struct {
	dir     string
	files   int
	objects int

	file *os.File
	out  *bufio.Writer
	size int // bytes of the file under way

	// later holds what may turn out not to be sent, nil for nothing: each text behind its length. It is gone at the end.
	later    *os.File
	laterOut *bufio.Writer
}

const (
	bundleBytes = 8 << 20 // of a file; an object that is larger has one for itself
	bundleEnd   = "\n]}\n"
)

// newBundles makes the folder where it is not there yet, and finds out whether files can be made in it.
func newBundles(dir string) (*bundles, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for the bundles: %w", err)
	}
	probe, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return nil, fmt.Errorf("try the folder for the bundles: %w", err)
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return nil, fmt.Errorf("try the folder for the bundles: %w", err)
	}
	return &bundles{dir: dir}, nil
}

// add writes an object; the next file begins where it does not fit into the one under way.
func (b *bundles) add(o pipeline.Object) error {
	if b.file != nil && b.size+len(o.JSON)+len(bundleEnd)+2 > bundleBytes {
		if err := b.close(); err != nil {
			return err
		}
	}
	separator := ",\n"
	if b.file == nil {
		if err := b.open(); err != nil {
			return err
		}
		separator = "\n"
	}
	b.objects++
	b.size += len(separator) + len(o.JSON)
	_, err := b.out.WriteString(separator)
	if err == nil {
		_, err = b.out.Write(o.JSON)
	}
	if err != nil {
		return fmt.Errorf("write a bundle: %w", err)
	}
	return nil
}

func (b *bundles) open() error {
	name := filepath.Join(b.dir, fmt.Sprintf("bundle-%06d.json", b.files+1))
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write a bundle: %w", err)
	}
	b.files++
	b.file, b.out = file, bufio.NewWriterSize(file, 64<<10)
	b.size, err = b.out.WriteString(`{"type":"bundle","id":"bundle--` + uuid.NewString() + `","objects":[`)
	return err
}

// close ends the file under way, if there is one.
func (b *bundles) close() error {
	if b == nil || b.file == nil {
		return nil
	}
	_, err := b.out.WriteString(bundleEnd)
	err = errors.Join(err, b.out.Flush(), b.file.Close())
	b.file = nil
	if err != nil {
		return fmt.Errorf("write a bundle: %w", err)
	}
	return nil
}

// putOff keeps an object on disk until it is known whether it is sent.
func (b *bundles) putOff(o pipeline.Object) (err error) {
	if b.later == nil {
		if b.later, err = os.CreateTemp(b.dir, ".undecided-*"); err != nil {
			return fmt.Errorf("put off what may not be sent: %w", err)
		}
		b.laterOut = bufio.NewWriterSize(b.later, 64<<10)
	}
	if _, err = b.laterOut.Write(binary.AppendUvarint(nil, uint64(len(o.JSON)))); err == nil {
		_, err = b.laterOut.Write(o.JSON)
	}
	if err != nil {
		return fmt.Errorf("put off what may not be sent: %w", err)
	}
	return nil
}

// takeUp writes what was put off, as far as it is sent.
func (b *bundles) takeUp(isSent func(text []byte) bool) (err error) {
	if b == nil || b.later == nil {
		return nil
	}
	defer func() {
		if err = errors.Join(err, b.later.Close(), os.Remove(b.later.Name())); err != nil {
			err = fmt.Errorf("take up what was put off: %w", err)
		}
		b.later = nil
	}()
	if err := b.laterOut.Flush(); err != nil {
		return err
	}
	if _, err := b.later.Seek(0, io.SeekStart); err != nil {
		return err
	}
	in := bufio.NewReaderSize(b.later, 64<<10)
	for {
		length, err := binary.ReadUvarint(in)
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		text := make([]byte, length)
		if _, err := io.ReadFull(in, text); err != nil {
			return err
		}
		if !isSent(text) {
			continue
		}
		if err := b.add(pipeline.Object{JSON: text}); err != nil {
			return err
		}
	}
}
