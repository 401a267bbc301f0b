package transform

import (
	"bytes"
	"hash/maphash"
	"sync"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// recall remembers what became of objects: a third to half of those of profiles and alerts come with several items, byte for byte.
// It may be used by many goroutines at once.
type recall struct {
	// seeds are of this run, so that nobody can foresee a hash.
	seeds [2]maphash.Seed
	lock  sync.Mutex
	// young are the objects of late, of which size tells how long their texts are; old are those before them.
	young, old map[textKey]mapped
	size       int
}

// mostRecalled bounds the texts of the young objects, and those of the old ones, in bytes; each counts for perEntry more. A text
// that is longer than longestRecalled takes the place of too many others.
const (
	mostRecalled    = 2 << 20
	perEntry        = 512
	longestRecalled = 32 << 10
)

// textKey stands for a text: two hashes of it.
type textKey [2]uint64

// mapped is what became of a text of some length.
type mapped struct {
	object pipeline.Object
	claim  claim
	mended bool
	length int
}

// mayComeAgain says whether it is worth to remember what becomes of an object: relations come with one item only. They mostly
// begin with their type.
func mayComeAgain(text []byte) bool {
	return len(text) <= longestRecalled && !bytes.Contains(text[:min(len(text), 100)], []byte(`"type":"relationship"`))
}

func newRecall() *recall {
	return &recall{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, young: make(map[textKey]mapped)}
}

func (r *recall) keyOf(text []byte) textKey {
	return textKey{maphash.Bytes(r.seeds[0], text), maphash.Bytes(r.seeds[1], text)}
}

func (r *recall) get(k textKey) (m mapped, known bool) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if m, known = r.young[k]; known {
		return m, true
	}
	if m, known = r.old[k]; known {
		r.put(k, m)
	}
	return m, known
}

func (r *recall) add(k textKey, m mapped) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.put(k, m)
}

func (r *recall) put(k textKey, m mapped) {
	if r.size > mostRecalled {
		r.young, r.old, r.size = make(map[textKey]mapped, len(r.young)), r.young, 0
	}
	r.young[k] = m
	r.size += m.length + perEntry
}
