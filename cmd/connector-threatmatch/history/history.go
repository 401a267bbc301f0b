// Package history keeps in the state folder what lasts of runs that have ended: what each brought, and how fast OpenCTI imports.
package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
	"github.com/opencti-connectors/threatmatch/emit/followup"
)

// History is what lasts.
type History struct {
	Runs []snapshot.Run `json:"runs"` // newest first, mostRuns of them
	// ImportRate is how many messages a second OpenCTI's workers managed when they last had something to import.
	ImportRate followup.Rate `json:"import_rate"`
}

const (
	file = "history.json"
	// mostRuns is seven weeks of daily runs, and 30 kB.
	mostRuns = 50
	// mostBytes bounds what is read of a file that others may have written.
	mostBytes = 1 << 20
)

// Read reads the history of a state folder: an empty one where there is none. The error is that there is one and it cannot be read.
func Read(dir string) (h History, err error) {
	f, err := os.Open(filepath.Join(dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	}
	if err != nil {
		return h, fmt.Errorf("read the history of runs: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, mostBytes))
	if err == nil {
		err = json.Unmarshal(text, &h)
	}
	if err != nil {
		return History{}, fmt.Errorf("read the history of runs: %w", err)
	}
	h.Runs = h.Runs[:min(len(h.Runs), mostRuns)]
	if !(h.ImportRate.PerSecond > 0) {
		h.ImportRate = followup.Rate{}
	}
	return h, nil
}

// Add adds a run that has ended; the oldest make way.
func (h *History) Add(run snapshot.Run) {
	kept := h.Runs[:min(len(h.Runs), mostRuns-1)]
	h.Runs = append([]snapshot.Run{run}, kept...) // a new one: others may be reading the old
}

// Write writes the history into a state folder, whole or not at all.
func (h History) Write(dir string) error {
	text, err := json.Marshal(h)
	if err == nil {
		err = replace(filepath.Join(dir, file), append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write the history of runs: %w", err)
	}
	return nil
}

// replace puts a text in the place of a file. After a crash there is the old one or the new one, and perhaps a draft, which the next
// one takes the place of.
func replace(path string, text []byte) error {
	draft := path + ".tmp"
	f, err := os.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(draft))
	}
	return os.Rename(draft, path)
}
