package index

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// TestWhatIsCutOffTheEndIsSaid cuts the file at each place, once as it was closed and once as a killed process leaves it, also after it
// was shortened in order, which is no loss.
func TestWhatIsCutOffTheEndIsSaid(t *testing.T) {
	dir := folder(t)
	x, _ := mustOpen(t, dir, Options{})
	w := x.Waiting()
	cuts := func(when string, want ...string) {
		t.Helper()
		whole, err := os.ReadFile(filepath.Join(dir, waitingFile))
		if err != nil {
			t.Fatal(err)
		}
		for end := len(whole); end >= 0; end-- {
			path := filepath.Join(folder(t), waitingFile)
			if err := os.WriteFile(path, whole[:end], 0o600); err != nil {
				t.Fatal(err)
			}
			said := ""
			y, err := openWaiting(path, x.names.ID, Options{}.withDefaults(), func(reason string) error { said = reason; return nil })
			if err != nil {
				t.Fatal(err)
			}
			if intact := slices.Equal(idsOf(t, y.All()), want); end == len(whole) && said != "" || said == "" && !intact {
				t.Errorf("%s, %d bytes of %d: %d objects, and said is %q", when, end, len(whole), y.Len(), said)
			}
			if err := y.close(); err != nil {
				t.Error(err)
			}
		}
	}
	save := func(id string, size int) {
		saveOne(t, w, Waiter{Object: pipeline.Object{ID: id, JSON: make([]byte, size)}, Missing: []string{"m"}, Kind: HeldBack})
	}
	remove := func(ids ...string) {
		if err := w.Remove(t.Context(), ids); err != nil {
			t.Fatal(err)
		}
	}
	cuts("new")
	save("a", 10)
	save("b", 10)
	cuts("saved", "a", "b")
	remove("a")
	save("c", 10)
	cuts("replaced", "b", "c")
	save("large", 2*idle)
	remove("b", "c", "large")
	if w.Size() != waitingHead {
		t.Fatalf("it was not cleared: %d bytes", w.Size())
	}
	cuts("cleared")
	save("d", 10)
	w.mu.Lock()
	err := w.rewrite()
	w.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	cuts("rewritten", "d")
	if err := x.Empty(t.Context()); err != nil {
		t.Fatal(err)
	}
	cuts("emptied")
	save("e", 10)
	cuts("saved again", "e")
	mustClose(t, x)
	cuts("closed", "e")
	x, _ = mustOpen(t, dir, Options{})
	w = x.Waiting()
	save("f", 10)
	cuts("opened again", "e", "f")
	remove("e", "f")
	mustClose(t, x)
	cuts("closed with nothing")
}

// TestACrashOfTheMachineIsNoLossOfWaitingObjects looks, whenever the disk is waited for and after each call, at the files that a crash may
// leave: of what was written since the disk has confirmed anything, the header may be there without the rest, and the rest without it.
func TestACrashOfTheMachineIsNoLossOfWaitingObjects(t *testing.T) {
	dir := folder(t)
	x, _ := mustOpen(t, dir, Options{})
	w, path := x.Waiting(), filepath.Join(dir, waitingFile)
	safe := map[string]bool{}
	var confirmed []byte
	var of os.FileInfo
	read := func() []byte {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	looked := 0
	crash := func() {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		now := read()
		if of == nil || !os.SameFile(of, info) { // it has got its name as a whole
			of, confirmed = info, now
		}
		for _, head := range [][]byte{confirmed, now} {
			for _, rest := range [][]byte{confirmed, now} {
				left := filepath.Join(folder(t), waitingFile)
				if err := os.WriteFile(left, slices.Concat(head[:waitingHead], rest[waitingHead:]), 0o600); err != nil {
					t.Fatal(err)
				}
				y, err := openWaiting(left, x.names.ID, Options{}.withDefaults(), func(reason string) error {
					t.Errorf("a crash is taken for a loss: %s", reason)
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				for id := range safe {
					if !y.Has(id) {
						t.Errorf("%s was safe, and is not there after a crash", id)
					}
				}
				if err := y.close(); err != nil {
					t.Error(err)
				}
				looked++
			}
		}
	}
	w.log.sync = func(f *os.File) error {
		crash()
		confirmed = read()
		return f.Sync()
	}
	for i := range 12 {
		id := fmt.Sprint(i)
		saveOne(t, w, Waiter{Object: pipeline.Object{ID: id, JSON: make([]byte, 100+i%3*idle)}, Missing: []string{"m"}, Kind: HeldBack})
		safe[id] = true
		crash()
		switch i % 4 {
		case 1:
			delete(safe, id)
			if err := w.Remove(t.Context(), []string{id}); err != nil {
				t.Fatal(err)
			}
		case 3:
			clear(safe)
			if err := w.Remove(t.Context(), idsOf(t, w.All())); err != nil || w.Size() > idle {
				t.Fatal(w.Size(), err)
			}
		}
		crash()
	}
	w.mu.Lock()
	err := w.rewrite()
	w.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	saveOne(t, w, Waiter{Object: pipeline.Object{ID: "last"}, Missing: []string{"m"}})
	safe["last"] = true
	crash()
	mustClose(t, x)
	crash()
	if looked < 4*2*12 {
		t.Errorf("%d crashes only", looked)
	}
}
