package index

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// files are the names and texts of what a folder holds.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, f := range list {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		texts[f.Name()] = string(text)
	}
	return texts
}

func TestALookAtAnIndexTroublesNobody(t *testing.T) {
	dir := folder(t)
	if found, err := Look(t.Context(), filepath.Join(dir, "missing"), testIdentity); err != nil || !found.Fresh || found.Reason != NeverBefore || found.Holder != "" {
		t.Errorf("no folder: %+v, %v", found, err)
	}
	x, _ := mustOpen(t, dir, Options{})
	for i := range 5 {
		x.Put(testKey(i), Record{Digest: uint64(i)})
	}
	mustFlush(t, x)
	before := files(t, dir)
	found, err := Look(t.Context(), dir, testIdentity)
	if err != nil || found.Fresh || found.Entries != 5 || !strings.Contains(found.Holder, "process ") {
		t.Errorf("while another has it open: %+v, %v", found, err)
	}
	for name, text := range files(t, dir) {
		if before[name] != text {
			t.Errorf("%s was changed", name)
		}
	}
	mustClose(t, x)
	if found, err = Look(t.Context(), dir, testIdentity); err != nil || found.Entries != 5 {
		t.Errorf("when it is closed: %+v, %v", found, err)
	}
	mustOpen(t, dir, Options{}) // it is free
}

func TestALookTellsWhyAnIndexWouldBeginAnew(t *testing.T) {
	dir := lookedAt(t)
	other := testIdentity
	other.Mapping = "another"
	if found, err := Look(t.Context(), dir, other); err != nil || !found.Fresh || !strings.Contains(found.Reason, `now it is "another"`) {
		t.Errorf("another mapping: %+v, %v", found, err)
	}
	ranges, err := tableRanges(dir)
	if err != nil || len(ranges) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	if err := os.Truncate(filepath.Join(dir, tableName(ranges[0][0], ranges[0][1])), 100); err != nil {
		t.Fatal(err)
	}
	if found, err := Look(t.Context(), dir, testIdentity); err != nil || !found.Fresh || !strings.Contains(found.Reason, "damaged") {
		t.Errorf("a table that was cut off: %+v, %v", found, err)
	}
	file := filepath.Join(dir, identityFile)
	if _, err := Look(t.Context(), file, testIdentity); err == nil {
		t.Error("a file was taken for a folder")
	}
}

// lookedAt is the folder of an index with a record.
func lookedAt(t *testing.T) string {
	t.Helper()
	dir := folder(t)
	x, _ := mustOpen(t, dir, Options{})
	x.Put(testKey(1), Record{Digest: 1})
	mustFlush(t, x)
	mustClose(t, x)
	return dir
}
