package preview

import (
	"context"
	"encoding/json"
	"math"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// feed is the API for the indicators, cut down to some pages. How many there are in a window is only known once all are read, for
// a page tells nothing but whether there is another one. The first half of the pages comes in a row, and so do the others where
// that should be all; else these begin at moments that are spread evenly over the rest, and how densely indicators lie there
// tells how many there may be in between. The source that reads does not notice: to it, moments in between hold nothing.
//
// One call of it follows another; the figures may be read once that has ended.
type feed struct {
	*threatmatch.Client
	groups []threatmatch.Group
	window window
	most   int // pages; 0 for all

	pages int
	full  int // pages that were followed by others, and what they brought that was new
	fresh int
	whole bool // nothing in the window is left to read, but for the gaps

	oldest  time.Time     // of the indicators of the pages in a row: what lies before it holds none
	reached time.Time     // up to where the pages have come
	grid    *grid         // nil while pages come in a row
	gap     time.Duration // of the window, that no page has covered
	jumped  time.Duration // what the page under way has left out before it
	density float64       // of the page before, or of those in a row: indicators a second
	between float64       // indicators that may lie in the gaps
}

// grid is where the pages that are spread begin: in the middle of equal parts of the rest of the window.
type grid struct {
	begin time.Time
	part  time.Duration
	next  int
}

// Groups answers without a call.
func (f *feed) Groups(context.Context) ([]threatmatch.Group, error) { return f.groups, nil }

// IndicatorsWithin returns the next page, which may begin later than at the moment that is asked for; at the end of what is to be
// read, an empty one.
func (f *feed) IndicatorsWithin(ctx context.Context, group, modifiedAfter string, grow func(size int64) error) (threatmatch.IndicatorPage, error) {
	if f.most > 0 && (f.whole || f.pages >= f.most) {
		return threatmatch.IndicatorPage{}, nil
	}
	after, begin := f.begin(modifiedAfter)
	page, err := f.Client.IndicatorsWithin(ctx, group, after, grow)
	if err != nil {
		return page, err
	}
	f.pages++
	f.note(later(f.reached, begin), page)
	if f.whole {
		page.More = false
	}
	return page, nil
}

// begin is where the next page begins.
func (f *feed) begin(asked string) (after string, at time.Time) {
	at, ok := pipeline.ParseTime(asked)
	if !ok || f.most == 0 || f.pages < (f.most+1)/2 {
		return asked, at
	}
	if f.grid == nil {
		rest, parts := f.window.end().Sub(at), f.most-f.pages
		if f.density*rest.Seconds() < float64(parts-1)*f.perPage() {
			return asked, at // what is left should do for all of it
		}
		f.grid = &grid{begin: at, part: rest / time.Duration(parts)}
	}
	to := f.grid.begin.Add(f.grid.part * time.Duration(2*f.grid.next+1) / 2)
	f.grid.next++
	if !to.After(at) {
		return asked, at
	}
	f.jumped = to.Sub(later(at, f.reached))
	f.gap += f.jumped
	f.reached = to
	return to.UTC().Format(bound), to
}

// bound is how the API takes a moment behind which pages begin.
const bound = "2006-01-02T15:04:05.000Z"

// note takes up what a page tells of what lies behind a moment, and how densely.
func (f *feed) note(begin time.Time, page threatmatch.IndicatorPage) {
	newest, fresh, beyond := begin, 0, false
	for _, object := range page.Objects {
		at, ok := modifiedOf(object)
		beyond = ok && f.window.isOver(at)
		shownAgain := ok && !at.After(begin) && f.pages > 1
		if beyond || shownAgain {
			continue
		}
		fresh++
		if ok {
			if f.oldest.IsZero() || at.Before(f.oldest) {
				f.oldest = at
			}
			newest = later(newest, at)
		}
	}
	f.learn(begin, newest, fresh)
	// Where the page's last one lies beyond the window, all others do, for they come in order.
	f.whole = !page.More || len(page.Objects) == 0 || beyond
	f.reached = newest
	if f.whole {
		f.reached = later(newest, f.window.end())
		return
	}
	f.full++
	f.fresh += fresh
}

// learn guesses what lies in the gap before a page, if there is one, by how densely indicators lie on its two sides. They often
// come in bursts; the geometric mean lets no page that happens to lie in one speak for hours.
func (f *feed) learn(begin, newest time.Time, fresh int) {
	if f.grid == nil { // all pages so far have come in a row
		begin, fresh = later(f.window.from, f.oldest), f.fresh+fresh
	}
	before := f.density
	f.density = float64(fresh) / max(1, newest.Sub(begin).Seconds())
	between := math.Sqrt(before * f.density)
	if between == 0 { // they begin, or end, somewhere in between
		between = (before + f.density) / 2
	}
	f.between += between * f.jumped.Seconds()
	f.jumped = 0
}

// isAllRead says that no part of the window was left out.
func (f *feed) isAllRead() bool { return f.whole && f.gap == 0 }

// estimate is how many indicators the window may hold, when so many were read. It is rough.
func (f *feed) estimate(read int) int {
	more := f.between
	if !f.whole {
		more += f.density * max(0, f.window.end().Sub(f.reached)).Seconds()
	}
	return read + int(more)
}

// pagesFor is how many pages so many indicators take.
func (f *feed) pagesFor(indicators int) int {
	if f.isAllRead() || f.full == 0 || f.fresh == 0 {
		return f.pages
	}
	return max(f.pages, int(float64(indicators)/f.perPage())+1)
}

// perPage is how many new indicators a page brings that is followed by another.
func (f *feed) perPage() float64 { return float64(f.fresh) / float64(max(1, f.full)) }

// isOver says that a moment lies behind the window.
func (w window) isOver(at time.Time) bool { return !w.to.IsZero() && !at.Before(w.to) }

// modifiedOf reads an indicator's modified.
func modifiedOf(object []byte) (time.Time, bool) {
	var has struct {
		Modified any `json:"modified"`
	}
	if json.Unmarshal(object, &has) != nil {
		return time.Time{}, false
	}
	text, _ := has.Modified.(string)
	return pipeline.ParseTime(text)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
