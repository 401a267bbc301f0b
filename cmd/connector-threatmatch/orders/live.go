package orders

import (
	"io"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/progress"
)

// picture draws a backfill on a terminal: what it is, a bar for each dataset, and what all of it has come to.
type picture struct {
	*progress.Picture
	lines map[string]*progress.Line // by what they tell of
}

// What stands above and below the bars, by names that no dataset has.
const head, sum, waits = "what it is", "what it has come to", "what holds it up"

func newPicture(out io.Writer) *picture {
	return &picture{progress.NewPicture(out), map[string]*progress.Line{}}
}

// show has the picture drawn with what is known now.
func (p *picture) show(now Progress) {
	p.line(head).Say(now.head())
	for _, d := range now.Datasets {
		share := d.Share
		if d.Done {
			share = 1
		}
		l := p.line(d.Name)
		l.Say(d.String())
		l.Reach(share)
	}
	p.line(sum).Say(now.sum())
	p.line(waits).Say(now.waits())
}

// line is the one of that name, which is drawn from its first use on.
func (p *picture) line(name string) *progress.Line {
	l, drawn := p.lines[name]
	if !drawn {
		switch name {
		case head:
			l = p.Text(0)
		case sum:
			l = p.Text(progress.Lowest)
		case waits:
			l = p.Text(progress.Lowest + 1)
		default:
			l = p.Bar(len(p.lines), name)
		}
		p.lines[name] = l
	}
	return l
}
