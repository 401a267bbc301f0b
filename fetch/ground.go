package fetch

import (
	"context"
	"slices"
	"time"
)

// How ground is cut, in pages.
const (
	slicePages  = 12             // what a slice holds, about: between two slices half a call is lost, and what lies ready takes room
	crowded     = 2 * slicePages // what a slice must hold for its end to be left to others
	recentPages = 4              // by which a slice guesses what is left of it
	muchShared  = slicePages + 1 // what must be left of a slice for half of it to be read by others before what lies behind it
	leastShared = 4              // and where there is nothing else to read
)

type stage int

const (
	untaken stage = iota
	reading
	read
	left // to be read one page after another
)

// timeSlice is a piece of time.
type timeSlice struct {
	from, to time.Time // from included, at whole milliseconds
	stage    stage
	pages    int         // that were read since it was taken
	tops     []time.Time // how far the last of them came, and where they began
	answers  []*answer   // that are not handed on yet
	begun    bool        // there was one

	ahead  context.Context // ends when it is the slice's turn
	isNext context.CancelFunc
}

func (s *timeSlice) top() time.Time { return s.tops[len(s.tops)-1] }

func (s *timeSlice) take() { s.stage, s.pages, s.tops = reading, 0, []time.Time{s.from} }

// came notes how far a page came.
func (s *timeSlice) came(top time.Time) {
	s.pages++
	if s.tops = append(s.tops, top); len(s.tops) > recentPages+1 {
		s.tops = slices.Delete(s.tops, 0, 1)
	}
}

// ground is the time that is read in slices: they lie one behind the other without a gap, those in front may be gone.
type ground struct {
	ctx    context.Context
	slices []*timeSlice
	density
}

func (g *ground) add(at int, from, to time.Time) {
	s := &timeSlice{from: from, to: to}
	s.ahead, s.isNext = context.WithCancel(g.ctx)
	g.slices = slices.Insert(g.slices, at, s)
}

// drop lets go of slices, and of what lies ready in them.
func (g *ground) drop(from, to int) {
	for _, s := range g.slices[from:to] {
		s.isNext()
		for _, a := range s.answers {
			a.giveBack()
		}
	}
	g.slices = slices.Delete(g.slices, from, to)
}

// showsMore tells whether answers lie ready behind a slice that have indicators from between two moments.
func (g *ground) showsMore(behind int, after, before time.Time) bool {
	between := func(s sighting) bool { return s.readable && s.when.After(after) && s.when.Before(before) }
	for _, s := range g.slices[min(behind+1, len(g.slices)):] {
		if slices.ContainsFunc(s.answers, func(a *answer) bool { return slices.ContainsFunc(a.shown, between) }) {
			return true
		}
	}
	return false
}

// take gives out the earliest ground that nobody has taken, some pages of it as it seems, or a half of what somebody has too much
// of where that is earlier or all that is left. It returns nil when there is none of either.
func (g *ground) take() *timeSlice {
	at := g.firstUntaken()
	if at < 0 {
		at = g.halve(len(g.slices), leastShared)
	} else if half := g.halve(at, muchShared); half >= 0 {
		at = half
	}
	if at < 0 {
		return nil
	}
	g.parcel(at)
	g.slices[at].take()
	return g.slices[at]
}

func (g *ground) firstUntaken() int {
	return slices.IndexFunc(g.slices, func(s *timeSlice) bool { return s.stage == untaken })
}

// frontUntaken tells whether nobody has taken the ground whose turn it is.
func (g *ground) frontUntaken() bool { return len(g.slices) > 0 && g.slices[0].stage == untaken }

// parcel leaves some pages of a slice that is untaken.
func (g *ground) parcel(at int) {
	s := g.slices[at]
	if lasts := g.lasts(s.from, slicePages); s.to.Sub(s.from) > lasts+lasts/2 {
		g.cut(at, s.from, lasts)
	}
}

// halve cuts in two the slice before another of which most is left to read, so many pages at least. It returns where the half is
// that is untaken, below zero where there is none.
func (g *ground) halve(before, least int) int {
	best, most := -1, time.Duration(least-1)
	for at, s := range g.slices[:before] {
		if s.stage == reading {
			if pages := g.left(s); pages > most {
				best, most = at, pages
			}
		}
	}
	if best < 0 {
		return -1
	}
	s, half := g.slices[best], best+1
	if g.cut(best, s.top(), min(s.to.Sub(s.top())/2, slicePages*g.perPage(s))); half == len(g.slices) || g.slices[half].stage != untaken {
		return -1 // a moment cannot be shared
	}
	return half
}

// perPage is how much time a page of a slice covers.
func (g *ground) perPage(s *timeSlice) time.Duration {
	if len(s.tops) < 2 {
		return max(1, g.lasts(s.from, 1))
	}
	return max(1, s.top().Sub(s.tops[0])/time.Duration(len(s.tops)-1))
}

// left is how many pages of a slice are left, going by the last ones.
func (g *ground) left(s *timeSlice) time.Duration { return s.to.Sub(s.top()) / g.perPage(s) }

// cut ends a slice so long after a moment, and leaves the rest untaken.
func (g *ground) cut(at int, from time.Time, lasts time.Duration) {
	s := g.slices[at]
	if end := from.Add(lasts).Truncate(time.Millisecond).Add(2 * time.Millisecond); end.Before(s.to) { // above all that it has shown
		g.split(at, end)
	}
}

// split ends a slice at a moment, and leaves the rest untaken.
func (g *ground) split(at int, end time.Time) {
	s := g.slices[at]
	if next := at + 1; next < len(g.slices) && g.slices[next].stage == untaken {
		g.slices[next].from = end
	} else {
		g.add(next, end, s.to)
	}
	s.to = end
}

// lie tells whether so many answers lie ready, or so many bytes of them, up to a slice that it should not be read on.
func (g *ground) lie(s *timeSlice, answers int, bytes int64) bool {
	var n int
	var held int64
	for _, other := range g.slices {
		for _, a := range other.answers {
			n++
			held += a.held
		}
		if other == s {
			break
		}
	}
	return n >= answers || held > bytes
}

// giveUp ends a slice where it stands, and leaves the rest untaken, where there is ground to be taken or shared before it.
func (g *ground) giveUp(s *timeSlice, fine time.Duration) bool {
	at := slices.Index(g.slices, s)
	if first := g.firstUntaken(); (first < 0 || first > at) && g.halve(at, muchShared) < 0 {
		return false
	}
	if !s.begun {
		s.stage = untaken
		return true
	}
	g.split(slices.Index(g.slices, s), onward(s.top(), fine))
	s.stage = read
	return true
}

// ease leaves to others what is too much of a slice.
func (g *ground) ease(at int) {
	s := g.slices[at]
	if pages := g.left(s) + time.Duration(s.pages); s.pages > 1 && pages > crowded {
		g.cut(at, s.top(), g.perPage(s)*time.Duration(max(2, slicePages-s.pages)))
	}
}

// onward is where a slice begins that goes on from the newest moment of an answer: its first bound shows all of that again, and
// hardly more. Fine is the unit of the times that the API prints.
func onward(newest time.Time, fine time.Duration) time.Time {
	return newest.Add(-fine).Truncate(time.Millisecond).Add(time.Millisecond)
}

// extend moves the end of a slice to where an answer came that led beyond it, where what follows is untaken, and further into that
// where nothing earlier is untaken. It tells whether the slice goes on.
func (g *ground) extend(at int, reached time.Time, fine time.Duration) bool {
	s, next := g.slices[at], at+1
	reached = onward(reached, fine)
	for next < len(g.slices) && g.slices[next].stage == untaken {
		if after := g.slices[next]; reached.Before(after.to) {
			after.from = latest(after.from, reached)
			s.to = after.from
			break
		}
		s.to = g.slices[next].to
		g.drop(next, next+1)
	}
	if g.firstUntaken() != next {
		return false
	}
	g.parcel(next)
	s.to = g.slices[next].to
	g.drop(next, next+1)
	s.pages, s.tops = 0, []time.Time{s.top()}
	return true
}
