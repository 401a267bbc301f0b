package orders

import (
	"io"
	"sync/atomic"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// picture draws a backfill on a terminal: what it is, a bar for each dataset, and what all of it has come to.
type picture struct {
	container *mpb.Progress
	lines     map[string]*line // by what they tell of
}

// line is one of the picture's. The drawing asks for the text whenever it likes.
type line struct {
	bar  *mpb.Bar
	text atomic.Pointer[string]
}

const (
	whole = 1000    // steps of a bar
	below = 1 << 20 // all datasets
)

// What stands above and below the bars, by names that no dataset has, and where.
const head, sum, waits = "what it is", "what it has come to", "what holds it up"

var places = map[string]int{head: 0, sum: below, waits: below + 1}

func newPicture(out io.Writer) *picture {
	return &picture{container: mpb.New(mpb.WithOutput(out), mpb.WithAutoRefresh()), lines: map[string]*line{}}
}

// show has the picture drawn with what is known now.
func (p *picture) show(now Progress) {
	p.line(head, now.head())
	for _, d := range now.Datasets {
		share := int64(d.Share * whole)
		if d.Done {
			share = whole
		}
		p.line(d.Name, d.String()).SetCurrent(share)
	}
	p.line(sum, now.sum())
	p.line(waits, now.waits())
}

// line lets the line of that name say a text, and draws it from its first use on.
func (p *picture) line(name, text string) *mpb.Bar {
	l, drawn := p.lines[name]
	if !drawn {
		l = &line{}
		p.lines[name] = l
	}
	l.text.Store(&text)
	if drawn {
		return l.bar
	}
	words := decor.Any(func(decor.Statistics) string { return *l.text.Load() })
	if place, isText := places[name]; isText {
		l.bar, _ = p.container.Add(0, nil, mpb.BarPriority(place), mpb.PrependDecorators(words)) // fails once closed only
		return l.bar
	}
	l.bar = p.container.AddBar(whole, mpb.BarPriority(len(p.lines)), mpb.BarWidth(20),
		mpb.PrependDecorators(decor.Name(name, decor.WCSyncSpaceR)), mpb.AppendDecorators(words))
	return l.bar
}

// close leaves the last picture standing.
func (p *picture) close() {
	for _, l := range p.lines {
		l.bar.Abort(false)
	}
	p.container.Wait()
}
