package threatmatch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// AwayError says that the API as a whole has not answered for as long as was put up with. It is no verdict on what was asked
// for.
type AwayError struct {
	For time.Duration
	Err error // of the last attempt
}

// Error says how long, and why.
func (e *AwayError) Error() string {
	return fmt.Sprintf("ThreatMatch has not answered for %s: %v", e.For.Round(time.Second), e.Err)
}

// Unwrap gives the error of the last attempt.
func (e *AwayError) Unwrap() error { return e.Err }

// IsAway says that a call was given up because the API as a whole is away.
func IsAway(err error) bool {
	var away *AwayError
	return errors.As(err, &away)
}

// outage is a time in which the API answers nobody. All calls share it: one asks for them whether it is over.
type outage struct {
	cfg   Config
	probe func(context.Context) error // a cheap call, tried once

	mu     sync.Mutex
	asking *asking   // nil while nobody asks
	began  time.Time // when the API was first found away; zero while it answers
	spent  bool      // it was waited for in vain: who meets it now asks once
}

// asking is one call's asking for all; verdict and away may be read once done is closed.
type asking struct {
	done    chan struct{}
	verdict error // nil when the API answers, context.Canceled when the one who asked has left
	away    bool  // it was found away at least once
}

// isDown says that a call failed as if the API were down.
func isDown(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.down
}

// isLost says that an answer broke off because of its connection, and not because of what it holds or how much.
func isLost(err error) bool {
	var network net.Error
	return errors.Is(err, errStalled) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network)
}

// pass waits until the API is not known to be away, before a call.
func (o *outage) pass(ctx context.Context) error {
	o.mu.Lock()
	known := !o.began.IsZero() // also when all who asked have left: whoever comes next asks before anything else
	o.mu.Unlock()
	if !known {
		return nil
	}
	_, err := o.await(ctx)
	return err
}

// await returns when the API answers, and whether it was away before. The error is that ctx ended, or an [AwayError].
func (o *outage) await(ctx context.Context) (wasAway bool, err error) {
	for {
		o.mu.Lock()
		a := o.asking
		if a == nil {
			a = &asking{done: make(chan struct{})}
			o.asking = a
			o.mu.Unlock()
			o.answer(a, o.ask(ctx, a))
			if ctx.Err() != nil {
				return a.away, ctx.Err()
			}
			return a.away, a.verdict
		}
		o.mu.Unlock()
		select {
		case <-a.done:
		case <-ctx.Done():
			return false, ctx.Err()
		}
		if !errors.Is(a.verdict, context.Canceled) { // else somebody else takes over
			return a.away, a.verdict
		}
	}
}

// ask asks until there is an answer, and returns the verdict.
func (o *outage) ask(ctx context.Context, a *asking) error {
	pace := remote.Backoff{Min: o.cfg.Backoff.Min, Max: outageProbes}
	for failures := 0; ; failures++ {
		found := o.probe(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Canceled
		case !isDown(found):
			return nil
		}
		a.away = true
		lasted, pause := o.note(), pace.Delay(failures)
		if lasted+pause > o.cfg.Patience {
			return &AwayError{lasted, found}
		}
		if remote.Wait(ctx, pause) != nil {
			return context.Canceled
		}
	}
}

// note takes note of the API being away, and returns for how long.
func (o *outage) note() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.began.IsZero() {
		o.began = time.Now()
	}
	return time.Since(o.began)
}

// answer ends the asking with what all who wait are told.
func (o *outage) answer(a *asking, verdict error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if IsAway(verdict) {
		o.spent = true
	} else if !errors.Is(verdict, context.Canceled) && !o.began.IsZero() {
		o.forget()
	}
	a.verdict, o.asking = verdict, nil
	close(a.done)
}

// renew lets an outage that was waited for in vain be waited for again.
func (o *outage) renew() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.spent {
		o.forget()
	}
}

// forget wants mu held.
func (o *outage) forget() { o.began, o.spent = time.Time{}, false }
