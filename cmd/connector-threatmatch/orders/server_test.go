package orders

import (
	"context"
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

func TestInAFolderWhosePathIsTooLongNobodyTakesOrders(t *testing.T) {
	dir := t.TempDir() + "/" + strings.Repeat("x", 120)
	c := NewClient(dir)
	defer c.Close()
	_, err := c.Progress(t.Context())
	if err != ErrNobody {
		t.Errorf("nobody runs there: %v", err)
	}
}
