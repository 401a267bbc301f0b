package index

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// smallDisk mounts a file system of a fixed size.
func smallDisk(t *testing.T, bytes int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Skipf("no file system can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// fill leaves so many bytes of a disk free.
func fill(t *testing.T, disk string, free int) (empty func()) {
	t.Helper()
	var stat syscall.Statfs_t
	if err := syscall.Statfs(disk, &stat); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(disk, "filling")
	if err := os.WriteFile(path, make([]byte, max(0, int(stat.Bavail)*int(stat.Bsize)-free)), 0o600); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// TestADiskThatIsFullAtAnyWriteLosesNothingThatWasConfirmed walks the room that is left on a real file system of fixed size, so
// that it is full at one write after the other: of tables, of waiting objects, of their file's successor.
func TestADiskThatIsFullAtAnyWriteLosesNothingThatWasConfirmed(t *testing.T) {
	const size, page = 2 << 20, 4 << 10
	refused := map[string]int{}
	for free := 0; free <= 640<<10; free += 2 * page {
		disk := smallDisk(t, size)
		dir := filepath.Join(disk, "state")
		var hours atomic.Int64 // the index looks at its clock beside the test
		opts := Options{Batch: 1000, Now: func() time.Time { return time.Unix(hours.Load()*3600, 0) }}
		x, _ := mustOpen(t, dir, opts)
		empty := fill(t, disk, free)
		kept, note := map[string]string{}, func(what string, err error) bool {
			if err != nil && !strings.Contains(err.Error(), "no space left") {
				t.Fatalf("with %d bytes free: %s: %v", free, what, err)
			}
			if err != nil {
				refused[what]++
			}
			return err == nil
		}
		round := func(round int) {
			for i := range 100 {
				x.Put(testKey(100*round+i), Record{Digest: uint64(100*round + i + 1)})
			}
			note("flush", x.Flush(t.Context()))
			for i := range 12 {
				id, text := fmt.Sprint(i), bytes.Repeat([]byte{byte('a' + round)}, 6<<10)
				if _, err := x.Waiting().Save(t.Context(), []Waiter{{Object: pipeline.Object{ID: id, JSON: text}, Kind: HeldBack}}); note("save", err) {
					kept[id] = string(text)
				}
			}
			gone := fmt.Sprint(round)
			if note("remove", x.Waiting().Remove(t.Context(), []string{gone})) {
				delete(kept, gone)
			}
		}
		for r := range 6 {
			round(r)
		}
		x.Waiting().mu.Lock()
		note("rewrite", x.Waiting().rewrite())
		x.Waiting().mu.Unlock()
		empty()
		hours.Add(1) // it is tried again
		round(6)
		if err := x.Flush(t.Context()); err != nil {
			t.Errorf("with %d bytes free, and then all: %v", free, err)
		}
		note("close", x.Close()) // which may tell of a merge that failed before

		y, opening := mustOpen(t, dir, opts)
		if opening.Fresh || opening.WaitingLost != "" || opening.Temporary {
			t.Errorf("with %d bytes free: opened as %+v", free, opening)
		}
		for i := range 700 {
			if r, ok := y.Lookup(testKey(i)); !ok || r.Digest != uint64(i+1) {
				t.Errorf("with %d bytes free: object %d is %+v, %t", free, i, r, ok)
				break
			}
		}
		for id, text := range kept {
			if w, ok, err := y.Waiting().Get(id); err != nil || !ok || string(w.Object.JSON) != text {
				t.Errorf("with %d bytes free: waiting object %s is lost or another, %t, %v", free, id, ok, err)
			}
		}
		mustClose(t, y)
	}
	for _, what := range []string{"flush", "save", "rewrite"} {
		if refused[what] == 0 {
			t.Errorf("the disk was never full at %s, so that the test says nothing of that: %v", what, refused)
		}
	}
}
