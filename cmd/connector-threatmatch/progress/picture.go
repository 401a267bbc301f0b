package progress

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"

	"github.com/vbauerster/cupwriter"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// Picture is lines on a terminal that are drawn anew where they stand, and above them what is written to it. When the terminal has
// gone nothing is drawn any more. It may be used by many goroutines at once.
type Picture struct {
	on     io.Writer
	screen *screen

	mu        sync.Mutex // mpb must not be given anything while it is closed, which would lose it
	container *mpb.Progress
	bars      []*mpb.Bar
}

// NewPicture draws on a terminal until Close.
func NewPicture(on io.Writer) *Picture {
	s := &screen{Writer: cupwriter.New(on, false)}
	return &Picture{on: on, screen: s, container: mpb.New(mpb.WithConsoleWriter(s), mpb.WithAutoRefresh())}
}

// Write puts log lines above the picture. Where that is drawn no more, the terminal gets them as they are, and the error is the
// terminal's.
func (p *Picture) Write(lines []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, err := p.container.Write(lines)
	if isEnd(err) {
		return p.on.Write(lines)
	}
	return n, err
}

// isEnd tells whether mpb draws no more: it was closed, or writing to the terminal has failed once.
func isEnd(err error) bool { return errors.As(err, new(mpb.ErrDone[*mpb.Progress])) }

// add draws one more line; nil where nothing is drawn any more. mpb's own AddBar and AddSpinner panic there. A line without a total
// ends only when it is told to: one that has all it is to have may still fail.
func (p *Picture) add(filler mpb.BarFillerBuilder, options ...mpb.BarOption) *mpb.Bar {
	p.mu.Lock()
	defer p.mu.Unlock()
	const noTotal = 0
	bar, err := p.container.Add(noTotal, filler.Build(), options...)
	if err != nil {
		return nil
	}
	p.bars = append(p.bars, bar)
	return bar
}

// Close leaves the last picture standing. The error is why the terminal did not take it.
func (p *Picture) Close() error {
	// A line that comes and goes is reason to draw once more, for the sake of what was written last.
	if last := p.add(mpb.NopStyle()); last != nil {
		last.Abort(true)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, bar := range p.bars {
		bar.Abort(false)
	}
	p.container.Wait()
	if err := p.container.Error; err != nil {
		return fmt.Errorf("draw on the terminal: %w", err)
	}
	return nil
}

// erase takes away what Close has left.
func (p *Picture) erase() {
	const upAndErase = "\x1b[%dA\x1b[J"
	if p.screen.drawn > 0 {
		_, _ = fmt.Fprintf(p.on, upAndErase, p.screen.drawn) // nobody is left to tell when the terminal has gone
	}
}

// screen is the terminal as mpb needs it.
type screen struct {
	*cupwriter.Writer
	lines int // of the picture to be drawn
	drawn int // of the one that stands there
}

// GetTermSize does not fail, for mpb would leave goroutines behind; where the terminal has gone, the Flush that follows fails. The
// lowest row is for the cursor: a picture that took it as well would push its first line out of reach.
func (s *screen) GetTermSize() (width, height int, err error) {
	if width, height, err = s.Writer.GetTermSize(); err != nil {
		return 80, 24, nil
	}
	return width, height - 1, nil
}

// ReadFrom takes one of the picture's lines.
func (s *screen) ReadFrom(line io.Reader) (n int64, err error) {
	if n, err = s.Writer.ReadFrom(line); n > 0 {
		s.lines++
	}
	return n, err
}

// Flush draws the picture. It counts its lines itself, for mpb takes those twice off their number that have no room.
func (s *screen) Flush(int) error {
	s.drawn, s.lines = s.lines, 0
	if err := s.Writer.Flush(s.drawn); err != nil {
		s.drawn = 0
		return err
	}
	return nil
}

// Line is one of a picture's whose text changes, and which may have a bar.
type Line struct {
	text atomic.Pointer[string] // the drawing asks for it whenever it likes
	bar  *mpb.Bar               // nil where nothing is drawn any more
}

// Text draws a line of text; those of lower places stand above it.
func (p *Picture) Text(place int) *Line {
	l := newLine()
	l.bar = p.add(mpb.NopStyle(), mpb.BarPriority(place), mpb.PrependDecorators(l.words()))
	return l
}

// Bar draws a name, a bar and a text.
func (p *Picture) Bar(place int, name string) *Line {
	return p.bar(mpb.BarPriority(place), mpb.PrependDecorators(decor.Name(name, decor.WCSyncSpaceR)))
}

// bar draws a bar and a text, with the place, the name and whatever else a line may have as options.
func (p *Picture) bar(options ...mpb.BarOption) *Line {
	l := newLine()
	l.bar = p.add(mpb.BarStyle(), append(options, mpb.BarWidth(20), mpb.AppendDecorators(l.words()))...)
	if l.bar != nil {
		l.bar.SetTotal(steps, false)
	}
	return l
}

const (
	// Lowest is a place below all that are counted up from 0.
	Lowest = 1 << 20
	// steps are those of a line's bar.
	steps = 1000
)

func newLine() *Line {
	l := &Line{}
	l.Say("")
	return l
}

func (l *Line) words() decor.Decorator {
	return decor.Any(func(decor.Statistics) string { return *l.text.Load() })
}

// Say changes the text. One of several lines, as of an error, is joined to one: the picture has no room for more.
func (l *Line) Say(text string) {
	text = strings.Join(strings.FieldsFunc(text, unicode.IsControl), "; ")
	l.text.Store(&text)
}

// Reach fills the bar up to a share, from 0 to 1, which may be less than before.
func (l *Line) Reach(share float64) {
	if l.bar != nil {
		l.bar.SetCurrent(int64(share * steps))
	}
}

// Remove takes the line out of the picture.
func (l *Line) Remove() {
	if l.bar != nil {
		l.bar.Abort(true)
	}
}
