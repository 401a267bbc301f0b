package orders

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
)

// slowDesk takes a while to come back when it is told to end.
type slowDesk struct {
	in  chan struct{}
	out atomic.Bool
}

func (d *slowDesk) Backfill(ctx context.Context, _ Backfill) (Progress, error) {
	close(d.in)
	<-ctx.Done()
	time.Sleep(300 * time.Millisecond) // long enough for a server that does not wait to be closed before
	d.out.Store(true)
	return Progress{}, ctx.Err()
}
func (*slowDesk) Cancel(context.Context) (Progress, error) { return Progress{}, nil }
func (*slowDesk) Progress() Progress                       { return Progress{Phase: None} }

func TestCloseWaitsForWhoIsBeingServed(t *testing.T) {
	dir, desk := folder(t), &slowDesk{in: make(chan struct{})}
	s, err := Serve(dir, desk, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	c := NewClient(dir)
	defer c.Close()
	asked := make(chan struct{})
	go func() { defer close(asked); _, _ = c.Backfill(context.Background(), Backfill{}) }()
	<-desk.in
	s.Close()
	if !desk.out.Load() {
		t.Error("the server is closed, and the desk is still at work; the caller closes the index next")
	}
	<-asked
}

// The path of a socket has a bound, that of a folder has none near it.
func TestInAFolderWithALongPathOrdersAreTakenAsWell(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("this system does not lead through an open folder")
	}
	for _, length := range []int{longestPath - len(socketName) - 1, longestPath - len(socketName), 108, 900} {
		dir := folder(t)
		for missing := length - len(dir); missing > 0; missing = length - len(dir) {
			dir += "/" + strings.Repeat("x", min(200, missing-1))
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		c := NewClient(dir)
		if _, err := c.Progress(t.Context()); err != ErrNobody {
			t.Errorf("nobody runs in a folder of %d bytes: %v", len(dir), err)
		}
		for range 2 { // the second finds nothing that the first has left
			s, err := Serve(dir, &desk{shows: []Progress{{Phase: None}}}, zap.NewNop())
			if err != nil {
				t.Fatalf("with %d bytes: %v", len(dir), err)
			}
			if p, err := c.Progress(t.Context()); err != nil || p.Phase != None {
				t.Errorf("with %d bytes: %+v, %v", len(dir), p, err)
			}
			if info, err := os.Stat(socketIn(dir)); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the socket is %v: %v", info, err)
			}
			c.Close()
			s.Close()
			if _, err := os.Lstat(socketIn(dir)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the socket is left: %v", err)
			}
		}
	}
}
