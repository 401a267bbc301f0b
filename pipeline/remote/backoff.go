package remote

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff is how long to wait before an attempt is repeated: Min, doubled with each failure in a row up to Max, less up to
// half of it at random, so that those who failed together do not come back together.
//
// It is a function of the number of failures, and holds none of them. The libraries for this keep the count themselves:
// that fits neither the hook of go-retryablehttp, which is shared by many calls side by side and told the number, nor
// the publisher, which counts failures over sessions and takes them back when a message is confirmed.
type Backoff struct {
	// Min must be above zero: without a wait a loop runs hot.
	Min, Max time.Duration
	// Jitter gives numbers in [0, 1); nil stands for math/rand.
	Jitter func() float64
}

// Delay is the wait after so many failures beyond the first: Delay(0) comes before the second attempt.
func (b Backoff) Delay(failures int) time.Duration {
	d := min(b.Min, b.Max)
	for ; failures > 0 && d > 0 && d < b.Max; failures-- {
		if d > b.Max/2 {
			d = b.Max // and never a product that has overflowed
			break
		}
		d *= 2
	}
	jitter := b.Jitter
	if jitter == nil {
		jitter = rand.Float64
	}
	return d - time.Duration(jitter()*float64(d)/2)
}

// Wait waits for d, or until ctx ends, and then returns the cause of its end.
func Wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
