package fetch

import (
	"fmt"
	"slices"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
)

// failures is the sorted set of items that could not be fetched.
type failures struct{ sorted []string }

func newFailures(ids []string) *failures {
	sorted := slices.SortedFunc(slices.Values(ids), threatmatch.CompareIDs)
	return &failures{slices.Compact(sorted)}
}

func (f *failures) len() int { return len(f.sorted) }

func (f *failures) has(id string) bool {
	_, found := slices.BinarySearchFunc(f.sorted, id, threatmatch.CompareIDs)
	return found
}

func (f *failures) add(id string) {
	if i, found := slices.BinarySearchFunc(f.sorted, id, threatmatch.CompareIDs); !found {
		f.sorted = slices.Insert(f.sorted, i, id)
	}
}

func (f *failures) remove(id string) {
	if i, found := slices.BinarySearchFunc(f.sorted, id, threatmatch.CompareIDs); found {
		f.sorted = slices.Delete(f.sorted, i, i+1)
	}
}

// ids returns a copy, nil for none.
func (f *failures) ids() []string {
	if len(f.sorted) == 0 {
		return nil
	}
	return slices.Clone(f.sorted)
}

// from returns all ids, beginning at another one each time: a run may give up before the last, and then it must not be
// the same ones that never get their turn.
func (f *failures) from(moment time.Time) []string {
	if len(f.sorted) == 0 {
		return nil
	}
	n := int(uint64(moment.Unix()) % uint64(len(f.sorted)))
	return slices.Concat(f.sorted[n:], f.sorted[:n])
}

const (
	// healthWindow is how many of the last items are looked at, deadHalf how many failures among them say that it is the
	// API that fails and not the items.
	healthWindow = 40
	deadHalf     = healthWindow / 2
	// deadStreak failures in a row end the second tries of a run: the others wait for the next.
	deadStreak = deadHalf
	// allForbidden refusals, and nothing but refusals, say that the dataset is closed to this client.
	allForbidden = 5
)

// health keeps the outcome of the last items.
type health struct {
	last      [healthWindow]bool // true: failed
	tried     int
	failed    int
	forbidden int
	streak    int
}

func (h *health) count(ok, forbidden bool) {
	slot := &h.last[h.tried%healthWindow]
	if *slot {
		h.failed--
	}
	*slot = !ok
	h.tried++
	if ok {
		h.streak = 0
		return
	}
	h.failed++
	h.streak++
	if forbidden {
		h.forbidden++
	}
}

// verdict says what is wrong with the API, "" for nothing.
func (h *health) verdict() string {
	switch {
	case h.tried >= allForbidden && h.forbidden == h.tried:
		return fmt.Sprintf("all of the first %d items are forbidden", h.tried)
	case h.failed >= deadHalf:
		return fmt.Sprintf("%d of the last %d items failed", h.failed, min(h.tried, healthWindow))
	}
	return ""
}
