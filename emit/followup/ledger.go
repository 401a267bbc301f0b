package followup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ledger remembers which large objects each run has sent, for OpenCTI does not tell which of them failed. Each run has a
// small text file, an id a line. What is not there, because of a crash, a full disk or the bound, costs only that the whole
// run is doubted.
type ledger struct {
	dir   string
	run   uint32 // the last one that was noted
	noted int    // of that run
}

const (
	// mostLarge bounds the ids of a run: 50 kB. Of more large objects that are sent at once it matters little which.
	mostLarge   = 1000
	largePrefix = "large-"
)

func (l *ledger) path(run uint32) string {
	return filepath.Join(l.dir, fmt.Sprintf("%s%08x", largePrefix, run))
}

// note adds objects to those of a run, durably, as far as the bound allows.
func (l *ledger) note(run uint32, ids []string) error {
	if run != l.run {
		l.run, l.noted = run, 0
	}
	ids = ids[:min(len(ids), mostLarge-l.noted)]
	if len(ids) == 0 {
		return nil
	}
	l.noted += len(ids)
	file, err := os.OpenFile(l.path(run), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(strings.Join(ids, "\n") + "\n")
	return errors.Join(err, file.Sync(), file.Close())
}

// of returns the objects of a run, each once. A line that was cut off is not there.
func (l *ledger) of(run uint32) ([]string, error) {
	text, err := os.ReadFile(l.path(run))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var ids []string
	for line := range bytes.Lines(text) {
		if id, whole := bytes.CutSuffix(line, []byte("\n")); whole {
			ids = append(ids, string(id))
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), err
}

// removeAllBut removes the files of other runs. What cannot be removed does no harm.
func (l *ledger) removeAllBut(runs map[uint32]bool) {
	keep := make(map[string]bool, len(runs))
	for run := range runs {
		keep[l.path(run)] = true
	}
	paths, _ := filepath.Glob(filepath.Join(l.dir, largePrefix+"*"))
	for _, path := range paths {
		if !keep[path] {
			_ = os.Remove(path)
		}
	}
}
