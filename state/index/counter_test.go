package index

import (
	"testing"
)

func TestTheCounterAndTheFolderOutliveTheProcessAndTheRecords(t *testing.T) {
	dir := t.TempDir()
	mapping := "1"
	reopen := func() *Index {
		t.Helper()
		x, _, err := Open(t.Context(), dir, Identity{Connector: "c", Mapping: mapping}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	x := reopen()
	if x.Counter() != 0 {
		t.Errorf("a new index has counted %d runs", x.Counter())
	}
	for _, n := range []uint64{7, 1<<64 - 1, 9} {
		if err := x.SetCounter(t.Context(), n); err != nil || x.Counter() != n {
			t.Fatalf("SetCounter(%d) = %v, then it says %d", n, err, x.Counter())
		}
	}
	id, folder := x.ID(), x.Folder()
	if name, n, ok := Counted(x.dir); !ok || name != folder || n != 9 {
		t.Errorf("without opening it %s has counted %d, %t", name, n, ok)
	}
	if _, _, ok := Counted(t.TempDir()); ok {
		t.Error("a folder without an index has counted")
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	x = reopen()
	if x.Counter() != 9 || x.ID() != id || x.Folder() != folder {
		t.Errorf("opened again it has counted %d", x.Counter())
	}
	if err := x.Empty(t.Context()); err != nil {
		t.Fatal(err)
	}
	if x.Counter() != 9 || x.ID() == id || x.Folder() != folder {
		t.Errorf("emptied it has counted %d", x.Counter())
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if err := x.SetCounter(t.Context(), 10); err == nil {
		t.Error("a closed index takes a number")
	}
	mapping = "2"
	x = reopen()
	defer x.Close()
	if x.Counter() != 9 || x.Folder() != folder {
		t.Errorf("with another mapping it has counted %d", x.Counter())
	}
}
