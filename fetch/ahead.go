package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
)

// fetched is one item on its way; data, err and held may be read once done is closed.
type fetched struct {
	id   string
	data json.RawMessage
	err  error
	held int64 // of the room
	done chan struct{}

	// ahead ends when it is the item's turn; isNext ends it.
	ahead  context.Context
	isNext context.CancelFunc
}

// fetchFunc fetches an item. It tells grow the size of an answer that comes in, and fails with an error that wraps
// [threatmatch.ErrNoRoom] when grow says so.
type fetchFunc func(ctx context.Context, id string, grow func(size int64) error) (json.RawMessage, error)

// fetchAhead fetches items side by side and gives them out in order, at most Options.PageItems ahead of the one that is
// waited for: a slow item does not idle the workers. Memory is bounded by the room that they share with other sources: what
// finds none is fetched again when its turn has come, for no server keeps an answer while the broker takes none.
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
		f := &fetched{id: a.rest[0], done: make(chan struct{})}
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
	if size := a.room.part(a.typical.Load()); a.room.await(f.ahead, size) {
		f.held = size
	}
	f.data, f.err = a.fetch(a.ctx, f.id, func(size int64) error { return a.grow(f, size) })
	if errors.Is(f.err, threatmatch.ErrNoRoom) {
		a.room.giveBack(f.held)
		f.held = 0
		<-f.ahead.Done()
		f.data, f.err = a.fetch(a.ctx, f.id, func(size int64) error { return a.grow(f, size) })
	}
	size := int64(len(f.data))
	if spare := f.held - a.room.part(size); spare > 0 {
		a.room.giveBack(spare)
		f.held -= spare
	}
	if f.err == nil {
		a.typical.Store(max(size, a.typical.Load()/8*7))
	}
}

// grow takes room for an answer that has reached a size. Whose turn it is goes on without.
func (a *fetchAhead) grow(f *fetched, size int64) error {
	more := a.room.part(size) - f.held
	switch {
	case more <= 0:
		return nil
	case a.room.take(more):
	case f.ahead.Err() == nil:
		return threatmatch.ErrNoRoom
	default:
		a.room.overdraw(more)
	}
	f.held += more
	return nil
}

// close ends what is under way and waits for it.
func (a *fetchAhead) close() {
	a.cancel()
	close(a.jobs)
	_ = a.group.Wait() // its functions return nil
	for _, f := range a.queue {
		a.room.giveBack(f.held)
	}
}
