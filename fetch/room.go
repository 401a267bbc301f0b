package fetch

import (
	"context"
	"errors"
	"sync"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
)

// Room bounds the bytes of the items and pages that all sources of a run have fetched and not handed on yet. It holds back what is
// fetched ahead of its turn only: the item that is next always passes, for those behind it, which may have taken all the room,
// wait for it.
type Room struct {
	bytes int64

	mu    sync.Mutex
	taken int64
	freed chan struct{} // closed and replaced when room has come free
}

// NewRoom returns a room of so many bytes.
func NewRoom(bytes int64) *Room { return &Room{bytes: bytes, freed: make(chan struct{})} }

// part is what an item needs of the room when it has a size: all of it where it is larger, so that it passes alone.
func (r *Room) part(size int64) int64 { return min(size, r.bytes) }

// take takes more room unless that is too much.
func (r *Room) take(more int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taken+more > r.bytes {
		return false
	}
	r.taken += more
	return true
}

// overdraw takes more room, whether there is any or not.
func (r *Room) overdraw(more int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken += more
}

// await takes more room as soon as it is free, and reports false when ctx ended before.
func (r *Room) await(ctx context.Context, more int64) bool {
	for {
		freed := r.watch()
		if r.take(more) {
			return true
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return false
		}
	}
}

// watch returns what is closed when room has come free.
func (r *Room) watch() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.freed
}

func (r *Room) giveBack(bytes int64) {
	if bytes == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken -= bytes
	close(r.freed)
	r.freed = make(chan struct{})
}

// claim is what one answer that is fetched ahead of its turn takes of a room.
type claim struct {
	room  *Room
	held  int64
	ahead context.Context // ends when it is the answer's turn
}

// fetchWithin fetches an answer within a claim, which waits until it holds room for one of a typical size. What outgrows
// the room is fetched again when its turn has come, for no server keeps an answer while the broker takes none.
func fetchWithin[T any](c *claim, typical int64, fetch func(grow func(size int64) error) (T, error)) (T, error) {
	if more := c.room.part(typical) - c.held; more > 0 && c.room.await(c.ahead, more) {
		c.held += more
	}
	answer, err := fetch(c.grow)
	if errors.Is(err, threatmatch.ErrNoRoom) {
		c.giveBack()
		<-c.ahead.Done()
		answer, err = fetch(c.grow)
	}
	return answer, err
}

// grow takes room for an answer that has reached a size. Whose turn it is goes on without.
func (c *claim) grow(size int64) error {
	more := c.room.part(size) - c.held
	switch {
	case more <= 0:
		return nil
	case c.room.take(more):
	case c.ahead.Err() == nil:
		return threatmatch.ErrNoRoom
	default:
		c.room.overdraw(more)
	}
	c.held += more
	return nil
}

// settle gives back what an answer of a size does not need.
func (c *claim) settle(size int64) {
	if spare := c.held - c.room.part(size); spare > 0 {
		c.room.giveBack(spare)
		c.held -= spare
	}
}

func (c *claim) giveBack() {
	c.room.giveBack(c.held)
	c.held = 0
}
