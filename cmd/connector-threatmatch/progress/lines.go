package progress

import (
	"context"
	"fmt"
	"io"
	"time"
)

// Lines writes a line of counts now and then, for where there is no terminal.
type Lines struct {
	*Tally
	stop context.CancelFunc
	done chan struct{}
}

// NewLines writes to out at most every so often, where something has changed, until Close; what names what goes out.
func NewLines(out io.Writer, every time.Duration, what string) *Lines {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Lines{Tally: NewTally(what), stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		shown := p.String()
		show := func() {
			if now := p.String(); now != shown {
				shown = now
				_, _ = fmt.Fprintln(out, now) // nobody is left to tell when the terminal has gone
			}
		}
		for {
			select {
			case <-ctx.Done():
				show()
				return
			case <-ticker.C:
				show()
			}
		}
	}()
	return p
}

// Close writes the last counts.
func (p *Lines) Close() {
	p.stop()
	<-p.done
}
