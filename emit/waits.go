package emit

import (
	"iter"
	"slices"

	"github.com/opencti-connectors/threatmatch/state/index"
)

// waits is what a parked node still waits for, each key once. Most nodes wait for one or two; one that refers to a
// hundred thousand others must not look through all of them each time that one arrives.
type waits struct {
	few  []index.Key
	many map[index.Key]struct{} // instead of few, once there are more
}

const fewWaits = 16

func (w *waits) len() int { return len(w.few) + len(w.many) }

func (w *waits) has(key index.Key) bool {
	if w.many != nil {
		_, found := w.many[key]
		return found
	}
	return slices.Contains(w.few, key)
}

func (w *waits) add(key index.Key) {
	switch {
	case w.many != nil:
		w.many[key] = struct{}{}
	case len(w.few) < fewWaits:
		w.few = append(w.few, key)
	default:
		w.many = make(map[index.Key]struct{}, 4*fewWaits)
		for _, k := range append(w.few, key) {
			w.many[k] = struct{}{}
		}
		w.few = nil
	}
}

func (w *waits) remove(key index.Key) {
	if w.many != nil {
		delete(w.many, key)
		return
	}
	if i := slices.Index(w.few, key); i >= 0 {
		w.few = slices.Delete(w.few, i, i+1)
	}
}

func (w *waits) all() iter.Seq[index.Key] {
	return func(yield func(index.Key) bool) {
		for _, key := range w.few {
			if !yield(key) {
				return
			}
		}
		for key := range w.many {
			if !yield(key) {
				return
			}
		}
	}
}
