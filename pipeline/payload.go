package pipeline

import (
	"context"
	"math"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// payload bounds the bytes that are on their way from the sources to the broker. All datasets share it. What the sink has
// parked does not count: it has a bound of its own, and waits for what others bring.
type payload struct {
	room *semaphore.Weighted
	// aside is for small items that find no room: else each of them would wait for all large ones that came before it.
	aside *semaphore.Weighted
	bytes int64
	used  atomic.Int64
	// wanting counts who waits for room.
	wanting atomic.Int32
	// growth is a float: how many times its own bytes an item takes once it is objects, by the items of late.
	growth atomic.Uint64
}

const (
	// beside is what an object takes beside its text, in bytes: a few ids that it refers to and what is remembered of its way.
	beside = 700
	// besideRef is what each more of those takes beside its place in the text.
	besideRef = 64
	fewRefs   = 4
	// firstGrowth is taken until items have shown better: that of objects of 250 bytes, which are small.
	firstGrowth = 4.
	// smallPart of the payload is set aside for items of which many fit in there.
	smallPart, manySmall = 16, 16
)

func newPayload(bytes int64) *payload {
	p := &payload{room: semaphore.NewWeighted(bytes - bytes/smallPart), aside: semaphore.NewWeighted(bytes / smallPart), bytes: bytes}
	p.growth.Store(math.Float64bits(firstGrowth))
	return p
}

// admit waits until there is room for an item, all of it for one that is larger. The item's ticket gives it back.
func (p *payload) admit(ctx context.Context, item Item, t *ticket) error {
	size := int64(float64(len(item.Data)) * math.Float64frombits(p.growth.Load()))
	room, aside := p.room, p.bytes/smallPart
	size = min(size, p.bytes-aside)
	if !room.TryAcquire(size) {
		if size <= aside/manySmall {
			room = p.aside
		}
		p.wanting.Add(1)
		err := room.Acquire(ctx, size)
		p.wanting.Add(-1)
		if err != nil {
			return context.Cause(ctx)
		}
	}
	p.used.Add(size)
	t.payload, t.room, t.size = p, room, size
	return nil
}

func (p *payload) release(room *semaphore.Weighted, size int64) {
	p.used.Add(-size)
	room.Release(size)
}

// isWanted reports whether somebody waits for room.
func (p *payload) isWanted() bool { return p.wanting.Load() > 0 }

// learn takes note of what became of an item of so many bytes. That several goroutines overwrite each other's note does not
// matter.
func (p *payload) learn(size int, objects []Object) {
	if size == 0 {
		return
	}
	held := 0
	for _, o := range objects {
		held += len(o.JSON) + beside + besideRef*max(0, len(o.Refs)-fewRefs)
	}
	const weight = 1. / 8 // so that an item in eight that differs does not decide
	growth := math.Float64frombits(p.growth.Load())
	growth += (max(1, float64(held)/float64(size)) - growth) * weight
	p.growth.Store(math.Float64bits(growth))
}
