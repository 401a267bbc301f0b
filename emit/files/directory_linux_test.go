package files

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// mount mounts a small file system.
func mount(t *testing.T, flags uintptr, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", flags, options); err != nil {
		t.Skipf("no file system can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// TestAFullDiskLeavesNothingBehindAndIsWaitedOut walks the room that is left, so that the disk is full at one write after the other.
func TestAFullDiskLeavesNothingBehindAndIsWaitedOut(t *testing.T) {
	const page, size = 4 << 10, 256 << 10
	full := 0
	for free := 0; free <= 72<<10; free += page {
		dir := mount(t, 0, "size=262144")
		filling := filepath.Join(dir, "filling")
		if err := os.WriteFile(filling, make([]byte, size-free), 0o600); err != nil {
			t.Fatal(err)
		}
		d, text := NewDirectory(dir, connector, 0), document(InDirectory, 60<<10)
		err := d.Put(t.Context(), "a.json", text...)
		if err == nil {
			if got, err := os.ReadFile(filepath.Join(dir, "a.json")); err != nil || string(got) != joined(text) {
				t.Errorf("with %d bytes free: %d of %d bytes were written, %v", free, len(got), len(joined(text)), err)
			}
			continue
		}
		full++
		if !IsTemporary(err) || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), DirectorySetting) {
			t.Errorf("with %d bytes free: %v", free, err)
		}
		if got := ls(t, dir); len(got) != 1 {
			t.Errorf("with %d bytes free it left %q", free, got)
		}
		if err := errors.Join(os.Remove(filling), d.Put(t.Context(), "a.json", text...)); err != nil {
			t.Errorf("with %d bytes free, and then all: %v", free, err)
		}
	}
	if full < 3 {
		t.Errorf("the disk was full %d times only, so that the test says nothing", full)
	}
}

func TestWhoMayNotWriteIsTold(t *testing.T) {
	dir := mount(t, syscall.MS_RDONLY, "")
	err := NewDirectory(dir, connector, 0).Put(t.Context(), "a.json", []byte("{}"))
	if err == nil || IsTemporary(err) || !strings.Contains(err.Error(), "read only") {
		t.Errorf("read only: %v", err)
	}
	closed := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(closed, 0o555); err != nil {
		t.Fatal(err)
	}
	denied := make(chan error)
	go func() {
		// Its thread is another user to file systems, and ends with it, for it is not unlocked.
		runtime.LockOSThread()
		if os.Geteuid() == 0 {
			_ = syscall.Setfsuid(65534)
		}
		denied <- NewDirectory(closed, connector, 0).Put(t.Context(), "a.json", []byte("{}"))
	}()
	if err := <-denied; err == nil || IsTemporary(err) || !strings.Contains(err.Error(), "may not write to the folder "+closed) {
		t.Errorf("without the right: %v", err)
	}
}
