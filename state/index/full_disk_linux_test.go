package index

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// mayMount says that this process may mount a file system. Where it may not, the test is run once more by a process that may in a
// namespace of its own, and skipped where there is none to be had.
func mayMount(t *testing.T) bool {
	t.Helper()
	const again = "INDEX_TEST_NAMESPACE"
	dir := t.TempDir()
	err := syscall.Mount("none", dir, "tmpfs", 0, "size=4096")
	if err == nil {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
		return true
	}
	if os.Getenv(again) != "" {
		t.Skipf("no file system can be mounted here: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), again+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, failure := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.As(failure, &exit):
		t.Errorf("in a namespace of its own:\n%s", out)
	case failure != nil, bytes.Contains(out, []byte("--- SKIP")):
		t.Skipf("no file system can be mounted here: %v; nor in a namespace: %v", err, failure)
	default:
		t.Logf("in a namespace of its own:\n%s", out)
	}
	return false
}

// smallDisk mounts a file system of a fixed size.
func smallDisk(t *testing.T, bytes int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Fatal(err)
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
	if !mayMount(t) {
		return
	}
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
		told := 0 // of a merge that was under way, and of what it kept from being written
		for !note("last flush", x.Flush(t.Context())) && told < 3 {
			told++
			hours.Add(1)
		}
		if told == 3 {
			t.Errorf("with %d bytes free, and then all, nothing can be flushed", free)
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

// TestAnIndexOnAFullDiskIsOpenedAsItWas stops and starts while the disk is full, at one write after the other, and until there is
// room: what was confirmed is there each time, no temporary index takes its place, and the commits that it counts never go back.
func TestAnIndexOnAFullDiskIsOpenedAsItWas(t *testing.T) {
	if !mayMount(t) {
		return
	}
	const size, page = 1 << 20, 4 << 10
	refused := map[string]int{}
	for free := 0; free <= 256<<10; free += page {
		disk := smallDisk(t, size)
		dir := filepath.Join(disk, "state")
		x, first := mustOpen(t, dir, Options{Batch: 1000})
		empty := fill(t, disk, free)
		flushed, saved, counted := map[int]bool{}, []string{}, uint64(0)
		note := func(what string, err error) bool {
			if err != nil {
				refused[what]++
			}
			return err == nil
		}
		for round := range 4 {
			for i := range 300 {
				x.Put(testKey(300*round+i), Record{Digest: 1})
			}
			if note("flush", x.Flush(t.Context())) {
				flushed[round] = true
			}
			id := fmt.Sprint(round)
			if _, err := x.Waiting().Save(t.Context(), []Waiter{{Object: pipeline.Object{ID: id, JSON: bytes.Repeat([]byte("x"), 20<<10)}, Kind: Parked}}); note("save", err) {
				saved = append(saved, id)
			}
			_ = x.SetCounter(t.Context(), uint64(round+1))
			x.writing <- struct{}{}
			named := x.named
			<-x.writing
			if named {
				counted = uint64(round + 1)
			} else {
				refused["count"]++
			}
			note("close", x.Close())
			if round == 2 {
				empty()
			} else if free == 0 {
				// Others take what room the lock has given back.
				if err := os.Truncate(filepath.Join(dir, lockFile), 0); err != nil {
					t.Fatal(err)
				}
				other, err := os.OpenFile(filepath.Join(disk, "filling"), os.O_WRONLY|os.O_APPEND, 0)
				for err == nil {
					_, err = other.Write(make([]byte, page))
				}
				other.Close()
			}
			var opening Opening
			x, opening = mustOpen(t, dir, Options{Batch: 1000})
			if opening.ID != first.ID || opening.Fresh || opening.Temporary || opening.WaitingLost != "" {
				t.Fatalf("with %d bytes free, round %d: opened as %+v", free, round, opening)
			}
			if got := x.Counter(); got < counted {
				t.Errorf("with %d bytes free, round %d: it counts %d commits, of %d", free, round, got, counted)
			}
			for r := range flushed {
				for i := range 300 {
					if _, ok := x.Lookup(testKey(300*r + i)); !ok {
						t.Fatalf("with %d bytes free, round %d: object %d of round %d is lost", free, round, i, r)
					}
				}
			}
			for _, id := range saved {
				if w, ok, err := x.Waiting().Get(id); err != nil || !ok || len(w.Object.JSON) != 20<<10 {
					t.Errorf("with %d bytes free, round %d: waiting object %s is lost, %v", free, round, id, err)
				}
			}
		}
		if !flushed[3] || counted != 4 || saved[len(saved)-1] != "3" {
			t.Errorf("with %d bytes free, and then all: %v, %d commits, %q", free, flushed, counted, saved)
		}
		mustClose(t, x)
	}
	for _, what := range []string{"flush", "save", "count"} {
		if refused[what] == 0 {
			t.Errorf("the disk was never full at %s, so that the test says nothing of that: %v", what, refused)
		}
	}
}

// TestAnIndexThatHasNoRoomToBeginIsNoTemporaryOne opens folders in which an index has to begin while the disk is full, at one write after
// the other, and again once there is room.
func TestAnIndexThatHasNoRoomToBeginIsNoTemporaryOne(t *testing.T) {
	if !mayMount(t) {
		return
	}
	const size, page = 256 << 10, 4 << 10
	for _, c := range []struct {
		name, reason, lost string
		prepare            func(t *testing.T, dir string)
	}{
		{"an empty disk", NeverBefore, "", func(*testing.T, string) {}},
		{"another mapping", "it was made with mapping", "", func(t *testing.T, dir string) {
			identity := testIdentity
			identity.Mapping = "another"
			x, _, err := Open(t.Context(), dir, identity, Options{})
			if err != nil {
				t.Fatal(err)
			}
			saveOne(t, x.Waiting(), Waiter{Object: pipeline.Object{ID: "a"}, Missing: []string{"m"}, Kind: HeldBack})
			mustClose(t, x)
		}},
		{"no waiting objects", "", "is missing", func(t *testing.T, dir string) {
			x, _ := mustOpen(t, dir, Options{})
			mustClose(t, x)
			if err := os.Remove(filepath.Join(dir, waitingFile)); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			refused := 0
			for free := 0; free <= 10*page; free += page {
				disk := smallDisk(t, size)
				dir := filepath.Join(disk, "state")
				c.prepare(t, dir)
				empty := fill(t, disk, free)
				x, opening, err := Open(t.Context(), dir, testIdentity, Options{})
				if err != nil {
					refused++
					if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "make room") {
						t.Errorf("with %d bytes free: %v", free, err)
					}
					empty()
					x, opening, err = Open(t.Context(), dir, testIdentity, Options{})
				}
				if err != nil || opening.Temporary || (c.reason != "") != opening.Fresh || !strings.Contains(opening.Reason, c.reason) ||
					(c.lost != "") != (opening.WaitingLost != "") || !strings.Contains(opening.WaitingLost, c.lost) {
					t.Errorf("with %d bytes free: opened as %+v, %v", free, opening, err)
				}
				if err == nil {
					_ = x.Close() // which may tell that the disk is full
				}
			}
			if refused == 0 {
				t.Error("the disk was never full, so that the test says nothing")
			}
		})
	}
}

func TestDamageThatIsFoundOnAFullDiskCostsWhatIsDamaged(t *testing.T) {
	if !mayMount(t) {
		return
	}
	disk := smallDisk(t, 1<<20)
	dir := filepath.Join(disk, "state")
	x, first := mustOpen(t, dir, Options{})
	for _, id := range []string{"a", "b", "c"} {
		saveOne(t, x.Waiting(), Waiter{Object: pipeline.Object{ID: id, JSON: bytes.Repeat([]byte("x"), 20<<10)}, Missing: []string{"m"}, Kind: HeldBack})
	}
	x.Put(testKey(1), Record{Digest: 1})
	mustFlush(t, x)
	mustClose(t, x)
	path := filepath.Join(dir, waitingFile)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file[len(file)-100] ^= 1
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	empty := fill(t, disk, 0)
	for _, full := range []bool{true, true, false, false} {
		if !full {
			empty()
			empty = func() {}
		}
		x, opening := mustOpen(t, dir, Options{})
		if opening.Temporary || opening.ID != first.ID || opening.Waiting != 2 || opening.WaitingLost == "" || opening.Entries != 1 {
			t.Errorf("full %t: opened as %+v", full, opening)
		}
		_ = x.Close() // which may tell that the disk is full
	}
}
