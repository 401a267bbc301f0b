package fetch

import (
	"context"
	"sync"
)

// Room bounds the bytes of the items that all sources of a run have fetched and not handed on yet. It holds back what is
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
		r.mu.Lock()
		freed := r.freed
		r.mu.Unlock()
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
