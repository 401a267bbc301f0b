package fetch

import (
	"math"
	"slices"
	"time"
)

// stretch is the time that the indicators of a page cover.
type stretch struct{ from, to time.Time }

func (s stretch) took() time.Duration { return s.to.Sub(s.from) }

// mostRemembered bounds the pages by which the density is known: some more than lie between the first slice and the last.
const mostRemembered = 256

// density is what the pages that were read tell of how indicators lie in time.
type density struct {
	pages []stretch // in order of time
}

func (d *density) note(s stretch) {
	at, _ := slices.BinarySearchFunc(d.pages, s.from, func(p stretch, t time.Time) int { return p.from.Compare(t) })
	d.pages = slices.Insert(d.pages, at, s)
	if len(d.pages) > mostRemembered {
		d.pages = slices.Delete(d.pages, 0, 1)
	}
}

// lasts is how much time so many pages from a moment on may cover: so many times as much as a page does in half of the time before,
// looked back as far as it is looked ahead. So a burst is believed to last as long as it has lasted, and one that is over tells
// nothing of the time around it.
func (d *density) lasts(from time.Time, pages int) time.Duration {
	at, _ := slices.BinarySearchFunc(d.pages, from, func(p stretch, t time.Time) int { return p.from.Compare(t) })
	if at == 0 {
		at = min(1, len(d.pages)) // nothing lies before: what comes first is as good a guess as any
	}
	var took []time.Duration // in order
	var all, typical time.Duration
	for i := at - 1; i >= 0; i-- {
		t := max(1, min(d.pages[i].took(), math.MaxInt64/(2*mostRemembered)))
		n, _ := slices.BinarySearch(took, t)
		took = slices.Insert(took, n, t)
		all += t
		typical = middle(took, all)
		if ahead := from.Sub(d.pages[at-1].to); all >= max(0, ahead)+time.Duration(pages)*typical {
			break
		}
	}
	return time.Duration(pages) * typical
}

// middle is how long the pages are in which half of the time lies, of pages in order of how long they are.
func middle(took []time.Duration, all time.Duration) time.Duration {
	var sum time.Duration
	for _, t := range took {
		if sum += t; sum >= all/2 {
			return t
		}
	}
	return 0
}
