package fetch

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
)

// fetched is one item on its way; item, err and what it holds may be read once done is closed.
type fetched struct {
	claim
	id     string
	item   threatmatch.Item
	err    error
	done   chan struct{}
	isNext context.CancelFunc // says that it is the item's turn
}

// fetchFunc fetches an item. It tells grow the size of an answer that comes in, and fails with an error that wraps
// [threatmatch.ErrNoRoom] when grow says so.
type fetchFunc func(ctx context.Context, id string, grow func(size int64) error) (threatmatch.Item, error)

// fetchAhead fetches items side by side and gives them out in order, at most Options.PageItems ahead of the one that is
// waited for: a slow item does not idle the workers. Memory is bounded by the room that they share with other sources.
type fetchAhead struct {
	ctx     context.Context
	cancel  context.CancelFunc
	fetch   fetchFunc
	rest    []string
	queue   []*fetched
	most    int
	room    *Room
	typical atomic.Int64 // size of an item: of the largest of late
	jobs    chan *fetched
	group   errgroup.Group
}

func newFetchAhead(ctx context.Context, opts Options, ids []string, fetch fetchFunc) *fetchAhead {
	a := &fetchAhead{fetch: fetch, rest: ids, most: max(opts.PageItems, opts.Concurrency), room: opts.Room}
	a.ctx, a.cancel = context.WithCancel(ctx)
	a.jobs = make(chan *fetched, a.most)
	for range min(opts.Concurrency, len(ids)) {
		a.group.Go(func() error {
			for f := range a.jobs {
				a.work(f)
			}
			return nil
		})
	}
	return a
}

// head returns the item that is next in order, nil when there is none or the context has ended before it was begun.
func (a *fetchAhead) head() *fetched {
	for len(a.queue) < a.most && len(a.rest) > 0 && a.ctx.Err() == nil {
		f := &fetched{claim: claim{room: a.room}, id: a.rest[0], done: make(chan struct{})}
		f.ahead, f.isNext = context.WithCancel(a.ctx)
		a.rest = a.rest[1:]
		a.queue = append(a.queue, f)
		a.jobs <- f // has room: it holds as many as the queue
	}
	if len(a.queue) == 0 {
		return nil
	}
	a.queue[0].isNext()
	return a.queue[0]
}

func (a *fetchAhead) pop() {
	a.queue[0] = nil
	a.queue = a.queue[1:]
}

// work fetches one item.
func (a *fetchAhead) work(f *fetched) {
	defer close(f.done)
	f.item, f.err = fetchWithin(&f.claim, a.typical.Load(), func(grow func(int64) error) (threatmatch.Item, error) {
		return a.fetch(a.ctx, f.id, grow)
	})
	size := int64(len(f.item.Objects))
	f.settle(size)
	if f.err == nil {
		a.typical.Store(max(size, a.typical.Load()/8*7))
	}
}

// close ends what is under way and waits for it.
func (a *fetchAhead) close() {
	a.cancel()
	close(a.jobs)
	_ = a.group.Wait() // its functions return nil
	for _, f := range a.queue {
		f.giveBack()
	}
}
