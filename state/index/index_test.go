package index

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		crashChild(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// folder returns an empty folder, in memory where the system has such a one: most of the tests' time goes into waiting for
// the disk, and a killed process leaves the same there.
func folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "index-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

var testIdentity = Identity{Connector: "connector", Platform: "platform", Mapping: "amber|html|true|1"}

func mustOpen(t testing.TB, dir string, opts Options) (*Index, Opening) {
	t.Helper()
	x, opening, err := Open(context.Background(), dir, testIdentity, opts)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { x.Close() })
	return x, opening
}

func mustClose(t testing.TB, x *Index) {
	t.Helper()
	if err := x.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func mustFlush(t testing.TB, x *Index) {
	t.Helper()
	if err := x.Flush(t.Context()); err != nil {
		t.Fatalf("flush: %v", err)
	}
}

func testKey(n int) Key { return KeyOf(fmt.Sprintf("indicator--%d", n)) }

func TestAPutRecordIsSeenAtOnceAndAfterReopening(t *testing.T) {
	dir := folder(t)
	x, opening := mustOpen(t, dir, Options{})
	if !opening.Fresh || opening.Reason != "there was none" || opening.Temporary {
		t.Errorf("first opening: %+v", opening)
	}
	want := Record{Digest: 1<<64 - 1, Modified: -5, Run: 1<<32 - 1, Seq: 7, Day: 65535, Refs: 65535, Kind: 255, Mark: Refused, Tries: 63,
		Cut: 1<<32 - 1, Stated: pipeline.Stated{Author: 1<<32 - 2, Level: 6, Markings: 3, Labels: 1 << 31, References: 9, Name: 7}, Weak: true, Addition: true, Arrival: true, Filtered: pipeline.TooStrict}
	x.Put(testKey(1), want)
	if got, ok := x.Lookup(testKey(1)); !ok || got != want {
		t.Errorf("before the flush: %+v %v", got, ok)
	}
	if _, ok := x.Lookup(testKey(2)); ok {
		t.Error("a record that was never put")
	}
	mustClose(t, x)
	y, again := mustOpen(t, dir, Options{})
	if again.Fresh || again.ID != opening.ID || again.Entries != 1 {
		t.Errorf("second opening: %+v after %+v", again, opening)
	}
	if got, ok := y.Lookup(testKey(1)); !ok || got != want {
		t.Errorf("after reopening: %+v %v", got, ok)
	}
}

func TestAnIndexOfSomethingElseStartsAnewAndSaysWhy(t *testing.T) {
	for _, c := range []struct {
		name, reason string
		change       func(*Identity)
	}{
		{"connector", `it belongs to connector "connector", this is "other"`, func(i *Identity) { i.Connector = "other" }},
		{"platform", `it belongs to platform "platform", this is "other"`, func(i *Identity) { i.Platform = "other" }},
		{"mapping", `it was made with mapping "amber|html|true|1", now it is "other"`, func(i *Identity) { i.Mapping = "other" }},
		{"destination", `what it knows went to OpenCTI's queue, now all goes to a folder`, func(i *Identity) { i.Destination = "a folder" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := folder(t)
			x, before := mustOpen(t, dir, Options{})
			x.Put(testKey(1), Record{Digest: 1})
			saveOne(t, x.Waiting(), Waiter{Object: pipeline.Object{ID: "w"}, Missing: []string{"m"}})
			mustClose(t, x)
			changed := testIdentity
			c.change(&changed)
			y, after, err := Open(t.Context(), dir, changed, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer y.Close()
			if !after.Fresh || after.Reason != c.reason || after.ID == before.ID || after.Entries != 0 || after.Waiting != 0 {
				t.Errorf("opening: %+v", after)
			}
			if _, ok := y.Lookup(testKey(1)); ok || y.Waiting().Has("w") {
				t.Error("something of the old index is left")
			}
		})
	}
}

func TestASecondProcessLearnsWhoHoldsTheIndex(t *testing.T) {
	dir := folder(t)
	x, _ := mustOpen(t, dir, Options{})
	_, _, err := Open(t.Context(), dir, testIdentity, Options{})
	host, _ := os.Hostname()
	if !errors.Is(err, ErrHeld) || !strings.Contains(err.Error(), fmt.Sprintf("process %d on host %q", os.Getpid(), host)) {
		t.Errorf("error: %v", err)
	}
	mustClose(t, x)
	y, opening := mustOpen(t, dir, Options{})
	if opening.Temporary || y.Len() != 0 {
		t.Errorf("after the first has gone: %+v", opening)
	}
}

func TestWithoutAWritableFolderItIsTemporaryAndLeavesNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	blocked := t.TempDir()
	if err := os.Mkdir(filepath.Join(blocked, lockFile), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"none": "", "below a file": filepath.Join(file, "x"), "blocked": blocked, "proc": "/proc/self"} {
		t.Run(name, func(t *testing.T) {
			tmp := t.TempDir()
			x, opening := mustOpen(t, dir, Options{TempDir: tmp})
			if !opening.Temporary || !opening.Fresh || !strings.HasPrefix(opening.Reason, "no folder to write to: ") {
				t.Errorf("opening: %+v", opening)
			}
			x.Put(testKey(1), Record{Digest: 1})
			mustFlush(t, x)
			if _, ok := x.Lookup(testKey(1)); !ok {
				t.Error("it does not remember")
			}
			mustClose(t, x)
			if left, _ := os.ReadDir(tmp); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
	_, _, err := Open(t.Context(), "", testIdentity, Options{TempDir: file})
	if err == nil || !strings.Contains(err.Error(), "make CONNECTOR_STATE_DIR writable") {
		t.Errorf("with nowhere to write: %v", err)
	}
}

func TestEmptyingForgetsEverythingForGood(t *testing.T) {
	dir := folder(t)
	x, before := mustOpen(t, dir, Options{Batch: 4})
	for i := range 100 {
		x.Put(testKey(i), Record{Digest: 1})
	}
	mustFlush(t, x)
	x.Put(testKey(100), Record{Digest: 1})
	saveOne(t, x.Waiting(), Waiter{Object: pipeline.Object{ID: "w"}, Missing: []string{"m"}})
	if err := x.Empty(t.Context()); err != nil {
		t.Fatal(err)
	}
	check := func(x *Index) {
		t.Helper()
		for i := range 101 {
			if _, ok := x.Lookup(testKey(i)); ok {
				t.Fatalf("object %d is still known", i)
			}
		}
		if x.Len() != 0 || x.Waiting().Len() != 0 || x.ID() == before.ID {
			t.Errorf("%d objects, %d waiting, id %s", x.Len(), x.Waiting().Len(), x.ID())
		}
	}
	check(x)
	id := x.ID()
	mustClose(t, x)
	y, after := mustOpen(t, dir, Options{})
	check(y)
	if after.Fresh || after.ID != id {
		t.Errorf("opening: %+v, want id %s", after, id)
	}
}

func TestFilesOfOthersAreLeftAlone(t *testing.T) {
	dir := folder(t)
	path := filepath.Join(dir, "delivered-notes.txt")
	if err := os.WriteFile(path, []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	x, _ := mustOpen(t, dir, Options{})
	if err := x.Empty(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, x)
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

// TestTheIndexAnswersLikeAMap drives an index with tiny batches, so that tables are written and merged all the time.
func TestTheIndexAnswersLikeAMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := folder(t)
		opts := Options{Batch: rapid.IntRange(1, 16).Draw(rt, "batch")}
		x, _ := mustOpen(t, dir, opts)
		defer func() { x.Close() }()
		model := map[Key]Record{}
		same := func() {
			for i := range 64 {
				got, ok := x.Lookup(testKey(i))
				if want, known := model[testKey(i)]; ok != known || got != want {
					rt.Fatalf("object %d: %+v %v, want %+v %v", i, got, ok, want, known)
				}
			}
			if x.Len() != int64(len(model)) {
				rt.Fatalf("%d objects, want %d", x.Len(), len(model))
			}
		}
		for step := range rapid.IntRange(1, 12).Draw(rt, "steps") {
			switch rapid.IntRange(0, 9).Draw(rt, "what") {
			default:
				for n := range rapid.IntRange(1, 40).Draw(rt, "puts") {
					k := testKey(rapid.IntRange(0, 63).Draw(rt, "object"))
					if n%2 == 0 {
						x.Lookup(k)
					}
					model[k] = Record{Digest: uint64(step), Modified: int64(n), Run: 1, Seq: uint32(n)}
					x.Put(k, model[k])
				}
			case 0, 1:
				mustFlush(t, x)
			case 2:
				mustClose(t, x)
				var opening Opening
				if x, opening = mustOpen(t, dir, opts); opening.Fresh {
					rt.Fatalf("reopened: %+v", opening)
				}
			case 3:
				if err := x.Empty(t.Context()); err != nil {
					rt.Fatal(err)
				}
				clear(model)
			}
			same()
		}
	})
}

// TestSupersededRecordsAreMergedAway holds merging up while tables are written, as a busy machine may, and looks at what
// is left when it has caught up.
func TestSupersededRecordsAreMergedAway(t *testing.T) {
	const objects, rounds = 2_000, 5
	for name, batches := range map[string][]int{
		"of one size":     {400},
		"growing":         {50, 100, 200, 400, 800},
		"shrinking":       {1000, 700, 200, 90, 10},
		"a small one now": {650, 650, 7},
	} {
		t.Run(name, func(t *testing.T) {
			x, _ := mustOpen(t, folder(t), Options{})
			x.merging <- struct{}{}
			for n, left := 0, 0; n < rounds*objects; n++ {
				if left == 0 {
					mustFlush(t, x)
					left, batches = batches[0], append(batches[1:], batches[0])
				}
				x.Put(testKey(n%objects), Record{Digest: uint64(n / objects)})
				left--
			}
			mustFlush(t, x)
			<-x.merging
			x.mergeDue(t.Context())
			if perObject := float64(x.Size()) / objects; perObject > 1.3*recordSize {
				var counts []uint64
				for _, table := range x.tables {
					counts = append(counts, table.count)
				}
				t.Errorf("%.1f bytes an object in tables of %d records", perObject, counts)
			}
			if x.Len() != objects {
				t.Errorf("%d objects", x.Len())
			}
			for i := range objects {
				if r, ok := x.Lookup(testKey(i)); !ok || r.Digest != rounds-1 {
					t.Fatalf("object %d: %+v %v", i, r, ok)
				}
			}
		})
	}
}

func TestLookupsAndPutsMayRunSideBySide(t *testing.T) {
	x, _ := mustOpen(t, folder(t), Options{Batch: 50})
	var group sync.WaitGroup
	for g := range 4 {
		group.Go(func() {
			for i := range 2000 {
				k := testKey(g*10_000 + i)
				x.Put(k, Record{Digest: uint64(i)})
				if r, ok := x.Lookup(k); !ok || r.Digest != uint64(i) {
					t.Errorf("object %d of %d: %+v %v", i, g, r, ok)
					return
				}
				if i%500 == 0 {
					if err := x.Flush(t.Context()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	group.Wait()
	if x.Len() != 8000 {
		t.Errorf("%d objects", x.Len())
	}
}

func TestFlushEndsWithItsContext(t *testing.T) {
	x, _ := mustOpen(t, folder(t), Options{})
	x.Put(testKey(1), Record{})
	x.writing <- struct{}{} // a write that does not end
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := x.Flush(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("flush: %v", err)
	}
	<-x.writing
	mustFlush(t, x)
}

func TestTheFilterNeverDeniesWhatItHolds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	random := func() (k Key) {
		binary.LittleEndian.PutUint64(k[:], r.Uint64())
		binary.LittleEndian.PutUint64(k[8:], r.Uint64())
		return k
	}
	const n = 20_000
	f := newFilter(n)
	keys := make([]Key, n)
	for i := range keys {
		keys[i] = random()
		f.add(keys[i])
	}
	for _, k := range keys {
		if !f.mayHold(k) {
			t.Fatalf("key %x is denied", k)
		}
	}
	wrong := 0
	for range n {
		if f.mayHold(random()) {
			wrong++
		}
	}
	if wrong > n/50 {
		t.Errorf("%d of %d unknown keys pass", wrong, n)
	}
}
