package index

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

const (
	crashDir     = "INDEX_TEST_CRASH_DIR"
	crashFrom    = "INDEX_TEST_CRASH_FROM"
	crashObjects = 700
)

// crashPut is the n-th put of the child's endless sequence.
func crashPut(n int) (Key, Record) {
	object := n * 7919 % crashObjects
	return testKey(object), Record{Digest: uint64(object)<<32 | uint64(n), Modified: int64(n), Run: uint32(object), Seq: uint32(n)}
}

func crashWaiter(n int) Waiter {
	return Waiter{Object: pipeline.Object{ID: strconv.Itoa(n), JSON: fmt.Appendf(nil, "object %d", n)}, Missing: []string{"m"}, Kind: Parked}
}

// crashChild puts, flushes, saves and removes until it is killed, and says what is safe.
func crashChild(dir string) {
	from, _ := strconv.Atoi(os.Getenv(crashFrom))
	ctx := context.Background()
	x, opening, err := Open(ctx, dir, testIdentity, Options{Batch: 64})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	fmt.Println("opened", opening.Fresh)
	for n := from; ; n++ {
		k, r := crashPut(n)
		if _, ok := x.Lookup(k); !ok && from > crashObjects {
			fmt.Println("error object of put", n, "is not known")
		}
		x.Put(k, r)
		if n%97 == 0 {
			if err := x.Flush(ctx); err != nil {
				fmt.Println("error", err)
			}
			fmt.Println("flushed", n)
		}
		if n%53 == 0 {
			if _, err := x.Waiting().Save(ctx, []Waiter{crashWaiter(n)}); err != nil {
				fmt.Println("error", err)
			}
			fmt.Println("saved", n)
		}
		if n%530 == 0 {
			fmt.Println("removing", n)
			if err := x.Waiting().Remove(ctx, []string{strconv.Itoa(n)}); err != nil {
				fmt.Println("error", err)
			}
		}
	}
}

// TestAfterAKillEverythingFlushedIsThereAndNothingElse kills a process at random moments, again and again in one folder.
func TestAfterAKillEverythingFlushedIsThereAndNothingElse(t *testing.T) {
	dir := folder(t)
	flushed := 0
	waiting := map[int]bool{} // true: must be there; false: may be
	for round := range 6 {
		flushed = crashRound(t, dir, flushed, waiting)
		x, opening, err := Open(t.Context(), dir, testIdentity, Options{Batch: 64})
		if err != nil || opening.Fresh || opening.WaitingLost != "" {
			t.Fatalf("round %d: %+v %v", round, opening, err)
		}
		verifyPuts(t, x, flushed)
		verifyWaiting(t, x.Waiting(), waiting)
		mustClose(t, x)
	}
}

func crashRound(t *testing.T, dir string, flushed int, waiting map[int]bool) int {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0])
	child.Env = append(os.Environ(), crashDir+"="+dir, fmt.Sprintf("%s=%d", crashFrom, flushed+1))
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for left := 5 + rand.IntN(300); lines.Scan(); left-- {
		what, rest, _ := strings.Cut(lines.Text(), " ")
		n, _ := strconv.Atoi(rest)
		switch what {
		case "flushed":
			flushed = n
		case "saved":
			waiting[n] = true
		case "removing":
			waiting[n] = false
		case "error":
			t.Errorf("child: %s", rest)
		}
		if left == 0 {
			time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, func() { child.Process.Kill() })
		}
	}
	child.Wait()
	if ctx.Err() != nil {
		t.Fatal("the process hung before its time had come")
	}
	return flushed
}

func verifyPuts(t *testing.T, x *Index, flushed int) {
	t.Helper()
	for n := flushed; n > max(0, flushed-crashObjects); n-- {
		k, _ := crashPut(n)
		got, ok := x.Lookup(k)
		if !ok {
			t.Fatalf("put %d was flushed and is not there", n)
		}
		if key, genuine := crashPut(int(got.Seq)); got != genuine || key != k {
			t.Fatalf("put %d: %+v was never put", n, got)
		}
		if int(got.Seq) < n {
			t.Fatalf("put %d was flushed, and %d is there", n, got.Seq)
		}
	}
	if n := x.Len(); n > crashObjects {
		t.Fatalf("%d objects of %d", n, crashObjects)
	}
}

func verifyWaiting(t *testing.T, w *Waiting, waiting map[int]bool) {
	t.Helper()
	for n, must := range waiting {
		if must && !w.Has(strconv.Itoa(n)) {
			t.Fatalf("waiting object %d was saved and is not there", n)
		}
	}
	for waiter, err := range w.All() {
		n, _ := strconv.Atoi(waiter.Object.ID)
		if err != nil || string(waiter.Object.JSON) != string(crashWaiter(n).Object.JSON) {
			t.Fatalf("waiting: %+v %v", waiter, err)
		}
	}
}
