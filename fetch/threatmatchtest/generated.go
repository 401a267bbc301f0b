package threatmatchtest

import (
	"iter"
	"strconv"
	"time"
)

// Generated is intelligence that is made when it is asked for; it holds none of it.
type Generated struct{ world }

// Generate returns the intelligence of a shape.
func Generate(shape Shape) *Generated { return &Generated{newWorld(shape)} }

// IDs implements Data.
func (g *Generated) IDs(name string, since time.Time) iter.Seq[int64] {
	set, ok := datasetOf(name)
	return func(yield func(int64) bool) {
		if !ok || g.count[set] == 0 {
			return
		}
		first := 0
		if behind := ceilMicro(since) - g.start; behind > 0 {
			step := max(1, g.span/int64(g.count[set]))
			first = int(min((behind+step-1)/step, int64(g.count[set])))
		}
		for i := first; i < g.count[set]; i++ {
			if !yield(firstID[set] + int64(i)) {
				return
			}
		}
	}
}

// Span returns the first and the last date of a dataset's items, or of the "indicators"; zero times where there are none.
func (g *Generated) Span(name string) (oldest, newest time.Time) {
	set, ok := datasetOf(name)
	switch {
	case ok && g.count[set] > 0:
		return time.UnixMicro(g.date(set, 0)).UTC(), time.UnixMicro(g.date(set, g.count[set]-1)).UTC()
	case name == "indicators" && g.total > 0:
		return time.UnixMicro(g.modified(0)).UTC(), time.UnixMicro(g.modified(g.groups() - 1)).UTC()
	}
	return oldest, newest
}

// Item implements Data.
func (g *Generated) Item(name, id string) ([]byte, bool) {
	set, ok := datasetOf(name)
	n, err := strconv.ParseInt(id, 10, 64)
	if !ok || err != nil || n < firstID[set] || n >= firstID[set]+int64(g.count[set]) {
		return nil, false
	}
	return g.item(set, int(n-firstID[set])), true
}

// Indicators implements Data.
func (g *Generated) Indicators(after time.Time, inclusive bool, limit int) ([][]byte, bool) {
	first := g.firstIndicator(after, inclusive)
	last := first + max(0, min(limit, g.total-first))
	p := pen{w: &g.world, b: make([]byte, 0, (last-first)*indicatorRoom)}
	end := make([]int, 0, last-first)
	for i := first; i < last; i++ {
		p.indicator(i)
		end = append(end, len(p.b))
	}
	objects := make([][]byte, len(end))
	from := 0
	for i, to := range end {
		objects[i] = p.b[from:to:to]
		from = to
	}
	return objects, last < g.total
}
