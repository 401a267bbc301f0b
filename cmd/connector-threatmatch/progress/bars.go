package progress

import (
	"io"
	"os"
	"sync"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// Bars draws a line for each dataset on a terminal.
type Bars struct {
	*Tally
	container *mpb.Progress
	mu        sync.Mutex
	bars      map[string]*mpb.Bar
}

// NewBars draws on out until Close; what names what goes out.
func NewBars(out io.Writer, what string) *Bars {
	return &Bars{
		Tally:     NewTally(what),
		container: mpb.New(mpb.WithOutput(out), mpb.WithAutoRefresh()),
		bars:      map[string]*mpb.Bar{},
	}
}

// bar returns the line of that name, which is drawn from its first use on; what goes out stands below all datasets.
func (p *Bars) bar(line string) *mpb.Bar {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b, drawn := p.bars[line]; drawn {
		return b
	}
	// How much there is to come is unknown until the last page, so a line spins and counts.
	b := p.container.AddSpinner(0, append(p.layout(line), mpb.BarWidth(3),
		mpb.AppendDecorators(
			decor.CurrentNoUnit("%d", decor.WCSyncSpace),
			decor.AverageSpeed(0, "%.0f/s", decor.WCSyncSpace),
			decor.Elapsed(decor.ET_STYLE_GO, decor.WCSyncSpace)))...)
	p.bars[line] = b
	return b
}

// layout is what all lines have in common; mu is held.
func (p *Bars) layout(line string) []mpb.BarOption {
	priority := len(p.bars)
	if line == p.out {
		priority = 1 << 20
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
	if _, drawn := p.bars[dataset]; drawn || items <= 0 {
		return
	}
	p.bars[dataset] = p.container.AddBar(int64(items), append(p.layout(dataset), mpb.BarWidth(20),
		mpb.AppendDecorators(
			decor.CountersNoUnit("%d / %d", decor.WCSyncSpace),
			decor.AverageSpeed(0, "%.0f/s", decor.WCSyncSpace),
			decor.AverageETA(decor.ET_STYLE_GO, decor.WCSyncSpace)))...)
}

// Page draws a page's items.
func (p *Bars) Page(dataset string, items int, at pipeline.Position) {
	p.Tally.Page(dataset, items, at)
	p.drawTotal(dataset, p.goal(dataset))
	p.bar(dataset).IncrBy(items)
}

// Done ticks a dataset off, or crosses it out.
func (p *Bars) Done(dataset string, err error) {
	p.Tally.Done(dataset, err)
	if err != nil {
		p.bar(dataset).Abort(false)
		return
	}
	p.bar(dataset).SetTotal(-1, true)
}

// Sent draws what went out.
func (p *Bars) Sent(n int) {
	p.Tally.Sent(n)
	p.bar(p.out).IncrBy(n)
}

// Write puts a log line above the bars.
func (p *Bars) Write(line []byte) (int, error) { return p.container.Write(line) }

// Close completes what is still spinning and leaves the last picture standing.
func (p *Bars) Close() {
	p.mu.Lock()
	for _, b := range p.bars {
		if !b.Completed() && !b.Aborted() {
			b.SetTotal(-1, true)
		}
	}
	p.mu.Unlock()
	p.container.Wait()
}

// IsTerminal tells whether somebody looks at f.
func IsTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
