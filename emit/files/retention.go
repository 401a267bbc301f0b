package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	// between is the least time between two looks for old files.
	between = time.Hour
	// unfinishedFor is how old an unfinished file has to be to be taken for what a crash has left: another process of the same
	// connector may be writing one.
	unfinishedFor = time.Hour
	day           = 24 * time.Hour
)

// retention knows which files are a connector's own, and how long they stay.
type retention struct {
	prefix string
	days   int
	now    func() time.Time

	mu   sync.Mutex
	next time.Time // no look before
}

// due reports whether it is time to look again.
func (r *retention) due() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if now.Before(r.next) && r.next.Sub(now) <= between { // more than that says that the clock was set back
		return false
	}
	r.next = now.Add(between)
	return true
}

// judge reports whether a file is one of the connector's, and is to be removed. It goes by the name: asking for each file's own
// time takes long where there are many.
func (r *retention) judge(name string) (own, old bool) {
	at, own := writtenAt(r.prefix, name)
	return own, own && r.days > 0 && at.Before(r.now().Add(-time.Duration(r.days)*day))
}

// removals is what went wrong with a look: of many files it is the same as a rule.
type removals struct {
	first  error
	failed int
}

func (r *removals) note(err error) {
	if err == nil {
		return
	}
	if r.failed++; r.first == nil {
		r.first = err
	}
}

func (r *removals) err() error {
	if r.failed > 1 {
		return fmt.Errorf("%w (and %d more)", r.first, r.failed-1)
	}
	return r.first
}

// Expire removes the connector's files that are older than the days to keep them, and those that a crash left unfinished. It looks
// once an hour at most. What it returns keeps nothing from being put.
func (d *Directory) Expire(ctx context.Context) error {
	if !d.files.due() {
		return nil
	}
	folder, err := os.Open(d.path)
	if err != nil {
		return d.judge("look for old files", err)
	}
	defer folder.Close()
	var done removals
	for ctx.Err() == nil {
		entries, err := folder.ReadDir(1000)
		for _, entry := range entries {
			if entry.Type().IsRegular() && d.goes(entry) && ctx.Err() == nil {
				if err := os.Remove(filepath.Join(d.path, entry.Name())); !errors.Is(err, fs.ErrNotExist) {
					done.note(d.judge("remove an old file", err))
				}
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				done.note(d.judge("look for old files", err))
			}
			break
		}
	}
	return done.err()
}

// goes reports whether a file is to be removed.
func (d *Directory) goes(entry fs.DirEntry) bool {
	if name, unfinished := strings.CutSuffix(entry.Name(), tmpSuffix); unfinished {
		_, own := writtenAt(d.files.prefix, name)
		if !own {
			return false
		}
		info, err := entry.Info()
		return err == nil && d.files.now().Sub(info.ModTime()) > unfinishedFor
	}
	_, old := d.files.judge(entry.Name())
	return old
}
