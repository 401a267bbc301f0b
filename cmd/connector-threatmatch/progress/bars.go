package progress

import (
	"io"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// Bars draws a line for each dataset on a terminal, and one that tells what a run waits for.
type Bars struct {
	*Tally
	on     io.Writer
	passes bool // the picture goes with the run

	mu       sync.Mutex // guards all below
	picture  *Picture   // nil while nothing is drawn
	gone     bool       // the terminal; no picture is begun any more
	bars     map[string]*mpb.Bar
	dates    map[string]*Line // with the bar of a dataset that is read by date: how far it is
	stopAsks func()           // ends asking what the run waits for
}

// NewBars draws on out until Close, which leaves the last picture standing; what names what goes out.
func NewBars(out io.Writer, what string) *Bars {
	p := &Bars{Tally: NewTally(what), on: out, stopAsks: func() {}}
	p.start()
	return p
}

// NewPassingBars draws on out while a run is under way; between two there is nothing to see but log lines.
func NewPassingBars(out io.Writer, what string) *Bars {
	return &Bars{Tally: NewTally(what), on: out, passes: true, stopAsks: func() {}}
}

// start begins a picture; mu is held, or nobody else knows of the bars yet.
func (p *Bars) start() {
	p.picture = NewPicture(p.on)
	p.bars, p.dates = map[string]*mpb.Bar{}, map[string]*Line{}
}

// Begin draws a run, and until its End what waitsFor says.
func (p *Bars) Begin(waitsFor func() string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.picture == nil {
		p.reset()
		if p.gone {
			return
		}
		p.start()
	}
	p.stopAsks = sayWaits(p.picture.Text(Lowest+1), waitsFor)
}

// sayWaits lets a line say what a run waits for until the function that it returns is called. That is asked for beside the drawing:
// whoever knows may be writing to the log just then, which waits for the drawing.
func sayWaits(line *Line, waitsFor func() string) (stop func()) {
	quit, quitted := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(quitted)
		ticker := time.NewTicker(askEvery)
		defer ticker.Stop()
		for {
			line.Say("waits for " + waitsFor())
			select {
			case <-ticker.C:
			case <-quit:
				return
			}
		}
	}()
	return sync.OnceFunc(func() {
		close(quit)
		<-quitted
		line.Remove()
	})
}

// askEvery is how fresh the word is that tells what a run waits for.
const askEvery = 500 * time.Millisecond

// End takes the line of what the run waits for away, and the whole picture where that is to go with the run.
func (p *Bars) End() {
	p.mu.Lock()
	stop := p.stopAsks
	p.mu.Unlock()
	stop()
	if p.passes {
		p.Close()
	}
}

// bar does something with the line of that name, which is drawn from its first use on; what goes out stands below all datasets.
func (p *Bars) bar(line string, do func(*mpb.Bar)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.picture == nil {
		return
	}
	if b, drawn := p.bars[line]; drawn {
		do(b)
		return
	}
	// How much there is to come is unknown until the last page, so a line spins and counts.
	b := p.picture.add(mpb.SpinnerStyle(), append(p.layout(line), mpb.BarWidth(3),
		mpb.AppendDecorators(
			decor.CurrentNoUnit("%d", decor.WCSyncSpace),
			decor.AverageSpeed(0, "%.0f/s", decor.WCSyncSpace),
			decor.Meta(decor.Elapsed(decor.ET_STYLE_GO), func(took string) string { return " in " + took })))...)
	if b != nil {
		p.bars[line] = b
		do(b)
	}
}

// layout is what all lines have in common; mu is held.
func (p *Bars) layout(line string) []mpb.BarOption {
	priority := len(p.bars)
	if line == p.out {
		priority = Lowest
	}
	return []mpb.BarOption{
		mpb.BarPriority(priority), mpb.BarFillerOnComplete("✓"), mpb.BarFillerOnAbort("✗"),
		mpb.PrependDecorators(decor.Name(line, decor.WCSyncSpaceR)),
	}
}

// Total draws how far a dataset is on its way to so many items, and how long the rest takes.
func (p *Bars) Total(dataset string, items int) {
	p.Tally.Total(dataset, items)
	p.drawTotal(dataset, items)
}

// drawTotal draws a bar where there is none yet.
func (p *Bars) drawTotal(dataset string, items int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, drawn := p.bars[dataset]; drawn || items <= 0 || p.picture == nil {
		return
	}
	b := p.picture.add(mpb.BarStyle(), append(p.layout(dataset), mpb.BarWidth(20),
		mpb.AppendDecorators(
			decor.CountersNoUnit("%d / %d", decor.WCSyncSpace),
			decor.AverageSpeed(0, "%.0f/s", decor.WCSyncSpace),
			decor.Meta(decor.AverageETA(decor.ET_STYLE_GO), func(eta string) string { return " " + eta + " left" })))...)
	if b != nil {
		b.SetTotal(int64(items), false)
		p.bars[dataset] = b
	}
}

// drawDate draws how far a dataset is that is read by date: how many items it will have is not known, but how much of the time is
// behind it.
func (p *Bars) drawDate(dataset string, at pipeline.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.picture == nil {
		return
	}
	l, drawn := p.dates[dataset]
	if !drawn {
		if l = p.picture.bar(p.layout(dataset)...); l.bar == nil {
			return
		}
		p.bars[dataset], p.dates[dataset] = l.bar, l
	}
	l.Say(words.Grouped(p.Count(dataset)) + " up to " + at.Until.UTC().Format("2006-01-02 15:04"))
	l.Reach(at.Share)
}

// Page draws a page's items.
func (p *Bars) Page(dataset string, items int, at pipeline.Position) {
	p.Tally.Page(dataset, items, at)
	if !at.Until.IsZero() {
		p.drawDate(dataset, at)
		return
	}
	p.drawTotal(dataset, p.goal(dataset))
	p.bar(dataset, func(b *mpb.Bar) { b.IncrBy(items) })
}

// Done ticks a dataset off, or crosses it out.
func (p *Bars) Done(dataset string, err error) {
	p.Tally.Done(dataset, err)
	p.bar(dataset, func(b *mpb.Bar) {
		if err != nil {
			b.Abort(false)
			return
		}
		b.SetTotal(-1, true)
	})
}

// Sent draws what went out.
func (p *Bars) Sent(n int) {
	p.Tally.Sent(n)
	p.bar(p.out, func(b *mpb.Bar) { b.IncrBy(n) })
}

// Write puts a log line above the bars.
func (p *Bars) Write(line []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.picture == nil {
		return p.on.Write(line)
	}
	return p.picture.Write(line)
}

// Close, after the End of each run that was begun, completes what is still spinning and leaves the last picture standing, unless it is
// to pass.
func (p *Bars) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.picture == nil {
		return
	}
	for _, b := range p.bars {
		if !b.AbortedOrCompleted() {
			b.SetTotal(-1, true)
		}
	}
	p.gone = p.picture.Close() != nil // its log lines would tell nobody
	if p.passes {
		p.picture.erase()
	}
	p.picture = nil
}

// IsTerminal tells whether somebody looks at f.
func IsTerminal(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	nowhere, err := os.Stat(os.DevNull) // a device of characters, too
	return err != nil || !os.SameFile(info, nowhere)
}
