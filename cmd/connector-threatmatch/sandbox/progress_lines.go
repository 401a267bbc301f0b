package sandbox

import (
	"context"
	"fmt"
	"io"
	"time"
)

// progressLines writes a line of counts now and then, for where there is no terminal.
type progressLines struct {
	*tally
	stop context.CancelFunc
	done chan struct{}
}

func newProgressLines(out io.Writer, every time.Duration) *progressLines {
	ctx, cancel := context.WithCancel(context.Background())
	p := &progressLines{tally: newTally(), stop: cancel, done: make(chan struct{})}
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
func (p *progressLines) Close() {
	p.stop()
	<-p.done
}
