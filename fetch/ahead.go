package fetch

import (
	"context"
	"encoding/json"

	"golang.org/x/sync/errgroup"
)

// fetched is one item on its way; data and err may be read once done is closed.
type fetched struct {
	id   string
	data json.RawMessage
	err  error
	done chan struct{}
}

// fetchAhead fetches items side by side and gives them out in order, at most Options.PageItems ahead of the one that is
// waited for: a slow item does not idle the workers, and memory stays bounded.
type fetchAhead struct {
	ctx    context.Context
	cancel context.CancelFunc
	rest   []string
	queue  []*fetched
	most   int
	jobs   chan *fetched
	group  errgroup.Group
}

func newFetchAhead(ctx context.Context, opts Options, ids []string, fetch func(context.Context, string) (json.RawMessage, error)) *fetchAhead {
	a := &fetchAhead{rest: ids, most: max(opts.PageItems, opts.Concurrency)}
	a.ctx, a.cancel = context.WithCancel(ctx)
	a.jobs = make(chan *fetched, a.most)
	for range min(opts.Concurrency, len(ids)) {
		a.group.Go(func() error {
			for f := range a.jobs {
				f.data, f.err = fetch(a.ctx, f.id)
				close(f.done)
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
		a.rest = a.rest[1:]
		a.queue = append(a.queue, f)
		a.jobs <- f // has room: it holds as many as the queue
	}
	if len(a.queue) == 0 {
		return nil
	}
	return a.queue[0]
}

func (a *fetchAhead) pop() {
	a.queue[0] = nil
	a.queue = a.queue[1:]
}

// close ends what is under way and waits for it.
func (a *fetchAhead) close() {
	a.cancel()
	close(a.jobs)
	_ = a.group.Wait() // its functions return nil
}
