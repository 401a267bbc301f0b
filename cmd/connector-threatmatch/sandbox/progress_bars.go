package sandbox

import (
	"io"
	"os"
	"sync"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// progressBars draws a line for each dataset on a terminal.
type progressBars struct {
	*tally
	container *mpb.Progress
	mu        sync.Mutex
	bars      map[string]*mpb.Bar
}

func newProgressBars(out io.Writer) *progressBars {
	return &progressBars{
		tally:     newTally(),
		container: mpb.New(mpb.WithOutput(out), mpb.WithAutoRefresh()),
		bars:      map[string]*mpb.Bar{},
	}
}

// bar returns the line of that name, which is drawn from its first use on; the messages stand below all datasets.
func (p *progressBars) bar(line string) *mpb.Bar {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b, drawn := p.bars[line]; drawn {
		return b
	}
	priority := len(p.bars)
	if line == sentLine {
		priority = 1 << 20
	}
	// How much there is to come is unknown until the last page, so a line spins and counts.
	b := p.container.AddSpinner(0,
		mpb.BarPriority(priority), mpb.BarWidth(3),
		mpb.BarFillerOnComplete("✓"), mpb.BarFillerOnAbort("✗"),
		mpb.PrependDecorators(decor.Name(line, decor.WCSyncSpaceR)),
		mpb.AppendDecorators(
			decor.CurrentNoUnit("%d", decor.WCSyncSpace),
			decor.AverageSpeed(0, "%.0f/s", decor.WCSyncSpace),
			decor.Elapsed(decor.ET_STYLE_GO, decor.WCSyncSpace)))
	p.bars[line] = b
	return b
}

// Page draws a page's items.
func (p *progressBars) Page(dataset string, items int, at pipeline.Position) {
	p.tally.Page(dataset, items, at)
	p.bar(dataset).IncrBy(items)
}

// Done ticks a dataset off, or crosses it out.
func (p *progressBars) Done(dataset string, err error) {
	p.tally.Done(dataset, err)
	if err != nil {
		p.bar(dataset).Abort(false)
		return
	}
	p.bar(dataset).SetTotal(-1, true)
}

// Sent draws confirmed messages.
func (p *progressBars) Sent(n int) {
	p.tally.Sent(n)
	p.bar(sentLine).IncrBy(n)
}

// Write puts a log line above the bars.
func (p *progressBars) Write(line []byte) (int, error) { return p.container.Write(line) }

// Close completes what is still spinning and leaves the last picture standing.
func (p *progressBars) Close() {
	p.mu.Lock()
	for _, b := range p.bars {
		b.SetTotal(-1, true)
	}
	p.mu.Unlock()
	p.container.Wait()
}

// isTerminal tells whether somebody looks at f.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
