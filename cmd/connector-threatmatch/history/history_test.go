package history

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
	"github.com/opencti-connectors/threatmatch/emit/followup"
)

func TestTheHistoryOutlivesTheProcess(t *testing.T) {
	dir := t.TempDir()
	h, err := Read(dir)
	if err != nil || len(h.Runs) != 0 {
		t.Fatalf("of a new folder: %+v, %v", h, err)
	}
	began := time.Date(2025, 4, 17, 15, 24, 0, 0, time.UTC)
	h.ImportRate = followup.Rate{PerSecond: 5.5, At: began}
	for n := range mostRuns + 10 {
		h.Add(snapshot.Run{Purpose: "import", Began: began.AddDate(0, 0, n), Sent: int64(n)})
		if err := h.Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Read(dir)
	if diff := cmp.Diff(h, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if len(got.Runs) != mostRuns || got.Runs[0].Sent != mostRuns+9 || got.Runs[mostRuns-1].Sent != 10 {
		t.Errorf("%d runs, from %d to %d", len(got.Runs), got.Runs[0].Sent, got.Runs[len(got.Runs)-1].Sent)
	}
	if found, err := os.ReadDir(dir); err != nil || len(found) != 1 {
		t.Errorf("%v in the folder, %v", found, err)
	}
	if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestAddingARunLeavesTheRunsThatAreBeingRead(t *testing.T) {
	var h History
	h.Add(snapshot.Run{Sent: 1})
	read := h.Runs
	h.Add(snapshot.Run{Sent: 2})
	if read[0].Sent != 1 || len(h.Runs) != 2 {
		t.Errorf("%+v became of what was read", read)
	}
}

func TestADamagedHistoryIsTold(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, file), []byte(`{"runs":[{"sent":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if h, err := Read(dir); err == nil || h.Runs != nil {
		t.Errorf("%+v, %v", h, err)
	}
}
