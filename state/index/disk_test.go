package index

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// setCreate replaces how files are made, while nobody makes one.
func setCreate(x *Index, create createFunc) {
	x.merging <- struct{}{}
	x.writing <- struct{}{}
	x.create = create
	<-x.writing
	<-x.merging
}

func TestAFullDiskIsSaidOnceAndTheRunGoesOnFromMemory(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("the system has no /dev/full")
	}
	var mu sync.Mutex
	now := time.Unix(0, 0)
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	dir := folder(t)
	x, _ := mustOpen(t, dir, Options{Batch: 10, Now: clock})
	x.Put(testKey(1), Record{Digest: 1})
	mustFlush(t, x)
	setCreate(x, func(string) (*os.File, error) { return os.OpenFile("/dev/full", os.O_WRONLY, 0) })

	x.Put(testKey(2), Record{Digest: 2})
	err := x.Flush(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no space left") || !strings.Contains(err.Error(), dir) {
		t.Errorf("first flush: %v", err)
	}
	for i := range 1000 {
		x.Put(testKey(100+i), Record{Digest: uint64(i)})
		if r, ok := x.Lookup(testKey(100 + i)); !ok || r.Digest != uint64(i) {
			t.Fatalf("object %d just put: %+v %v", i, r, ok)
		}
		if err := x.Flush(t.Context()); err != nil {
			t.Fatalf("flush %d says it again: %v", i, err)
		}
	}
	if r, ok := x.Lookup(testKey(1)); !ok || r.Digest != 1 {
		t.Error("what was on disk before is lost")
	}
	kept := x.Len()
	if kept > pendingBatches*10+1 || kept+x.Forgotten() != 1002 {
		t.Errorf("%d objects kept, %d forgotten", kept, x.Forgotten())
	}

	tick := func() { mu.Lock(); defer mu.Unlock(); now = now.Add(retryAfter) }
	tick()
	mustFlush(t, x) // tries again, in vain
	setCreate(x, createFile)
	tick()
	mustFlush(t, x)
	mustClose(t, x)
	y, opening := mustOpen(t, dir, Options{})
	if opening.Fresh || y.Len() != kept {
		t.Errorf("after the disk has room again: %+v, want %d objects", opening, kept)
	}
}

func TestWhatWasPutDuringAWriteThatFailsStaysTheNewer(t *testing.T) {
	x, _ := mustOpen(t, folder(t), Options{})
	x.mu.Lock()
	x.frozen = map[Key]Record{testKey(1): {Digest: 1}, testKey(2): {Digest: 1}}
	x.pending[testKey(1)] = Record{Digest: 2}
	x.thaw()
	x.mu.Unlock()
	for n, want := range map[int]uint64{1: 2, 2: 1} {
		if r, ok := x.Lookup(testKey(n)); !ok || r.Digest != want {
			t.Errorf("object %d: %+v %v, want %d", n, r, ok, want)
		}
	}
}

func TestTablesThatCannotBeMergedAreBounded(t *testing.T) {
	var mu sync.Mutex
	now := time.Unix(0, 0)
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	dir := folder(t)
	x, _ := mustOpen(t, dir, Options{Now: clock})
	setCreate(x, func(path string) (*os.File, error) {
		name := strings.TrimSuffix(filepath.Base(path), tmpSuffix)
		if first, last, ok := parseTableName(name); ok && first != last {
			return nil, errors.New("no room for so much")
		}
		return createFile(path)
	})
	reported := 0
	for i := range 2 * maxTables {
		x.Put(testKey(i), Record{Digest: uint64(i)})
		if err := x.Flush(t.Context()); err != nil {
			reported++
		}
	}
	x.mu.RLock()
	tables := len(x.tables)
	x.mu.RUnlock()
	if tables != maxTables || reported == 0 || reported > 2 {
		t.Errorf("%d tables, %d errors", tables, reported)
	}
	setCreate(x, createFile)
	mu.Lock()
	now = now.Add(2 * retryAfter)
	mu.Unlock()
	if _, err := x.mergeNewest(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustFlush(t, x)
	mustClose(t, x)
	if y, opening := mustOpen(t, dir, Options{}); opening.Fresh || y.Len() != 2*maxTables {
		t.Errorf("reopened: %+v", opening)
	}
}

func TestATableThatRotsWhileItIsOpenAnswersNotDelivered(t *testing.T) {
	dir := folder(t)
	x, _ := mustOpen(t, dir, Options{})
	x.Put(testKey(1), Record{Digest: 1})
	mustFlush(t, x)
	path := x.tables[0].path
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[headerSize+20] ^= 1
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt(data, 0)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if r, ok := x.Lookup(testKey(1)); ok {
		t.Errorf("a damaged record: %+v", r)
	}
	if err := x.Flush(t.Context()); err == nil || !strings.Contains(err.Error(), "has a damaged block") {
		t.Errorf("flush: %v", err)
	}
	mustFlush(t, x)
}

func TestAWriteThatWaitedForAnotherWaitsForRoomToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, _ := mustOpen(t, folder(t), Options{})
		x.merging <- struct{}{} // merging lags
		for i := range maxTables - 1 {
			x.Put(testKey(i), Record{})
			mustFlush(t, x)
		}
		x.writing <- struct{}{}
		x.create = func(name string) (*os.File, error) {
			x.Put(testKey(maxTables), Record{}) // the other one has something to write, too
			return createFile(name)
		}
		x.Put(testKey(maxTables-1), Record{})
		var writes sync.WaitGroup
		for range 2 {
			writes.Go(func() {
				if err := x.Flush(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		<-x.writing
		synctest.Wait()
		<-x.merging
		writes.Wait()
		if x.health.failing || x.Forgotten() > 0 || x.Len() != maxTables+1 {
			t.Errorf("failing %v, %d forgotten, %d objects", x.health.failing, x.Forgotten(), x.Len())
		}
	})
}

// index.json can neither be read nor written for a moment (a share that is stale, a disk that reports an error): what waits is there
// again once it can.
func TestAnIdentityThatCannotBeReadForAMomentCostsNothing(t *testing.T) {
	dir := folder(t)
	x, _ := mustOpen(t, dir, Options{})
	saveOne(t, x.Waiting(), Waiter{Object: pipeline.Object{ID: "a"}, Missing: []string{"m"}, Kind: HeldBack})
	mustClose(t, x)
	name, aside := filepath.Join(dir, identityFile), filepath.Join(folder(t), "aside")
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Rename(name, aside))
	must(os.MkdirAll(filepath.Join(name, "x"), 0o700))
	y, _ := mustOpen(t, dir, Options{})
	mustClose(t, y)
	must(os.RemoveAll(name))
	must(os.Rename(aside, name))
	z, opening := mustOpen(t, dir, Options{})
	if opening.Waiting != 1 || opening.WaitingLost != "" {
		t.Errorf("what waited is lost: %+v", opening)
	}
	mustClose(t, z)
}
