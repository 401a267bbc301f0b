package threatmatch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"

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

	mu      sync.Mutex
	asking  chan struct{} // closed when the one who asks has an answer; nil when nobody asks
	verdict error         // of the last who asked
	away    bool          // it has found the API away, at least once
	began   time.Time     // when the API was first found away; zero while it answers
	alarmed bool          // that it lasts was logged
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

// pass waits until nobody has found the API away, before a call.
func (o *outage) pass(ctx context.Context) error {
	o.mu.Lock()
	asking, away := o.asking, !o.began.IsZero()
	o.mu.Unlock()
	if asking == nil || !away {
		return nil
	}
	_, err := o.await(ctx)
	return err
}

// await returns when the API answers, and whether it was away before. The error is that ctx ended, or an [AwayError].
func (o *outage) await(ctx context.Context) (wasAway bool, err error) {
	for {
		o.mu.Lock()
		asking := o.asking
		if asking == nil {
			o.asking, o.away = make(chan struct{}), false
			o.mu.Unlock()
			return o.ask(ctx)
		}
		o.mu.Unlock()
		select {
		case <-asking:
		case <-ctx.Done():
			return false, ctx.Err()
		}
		o.mu.Lock()
		verdict, away := o.verdict, o.away
		o.mu.Unlock()
		if !errors.Is(verdict, context.Canceled) { // else who asked has left, and somebody else takes over
			return away, verdict
		}
	}
}

// ask asks until there is an answer.
func (o *outage) ask(ctx context.Context) (wasAway bool, err error) {
	pace := remote.Backoff{Min: o.cfg.Backoff.Min, Max: outageProbes}
	for failures := 0; ; failures++ {
		found := o.probe(ctx)
		if ctx.Err() != nil {
			return o.answer(context.Canceled, ctx.Err())
		}
		if !isDown(found) {
			return o.answer(nil, nil)
		}
		lasted, pause := o.note(found), pace.Delay(failures)
		if lasted+pause > o.cfg.Patience {
			away := &AwayError{lasted, found}
			return o.answer(away, away)
		}
		if remote.Wait(ctx, pause) != nil {
			return o.answer(context.Canceled, ctx.Err())
		}
	}
}

// note takes note of the API being away, and returns for how long.
func (o *outage) note(found error) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.away = true
	if o.began.IsZero() {
		o.began = time.Now()
	}
	lasted := time.Since(o.began)
	if lasted >= outageAlarm && !o.alarmed {
		o.alarmed = true
		o.cfg.Log.Error("ThreatMatch does not answer; the run waits, and goes on by itself when it does",
			zap.Duration("for", lasted), zap.Duration("waits_at_most", o.cfg.Patience), zap.Error(found))
	}
	return lasted
}

// answer ends the asking with what the others are told, and returns what the caller is.
func (o *outage) answer(verdict, err error) (wasAway bool, _ error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.verdict = verdict
	if !errors.Is(verdict, context.Canceled) && !o.began.IsZero() {
		if o.alarmed && verdict == nil { // at the level of the alarm, for whoever has read that
			o.cfg.Log.Error("ThreatMatch answers again; the run goes on", zap.Duration("after", time.Since(o.began)))
		}
		o.began, o.alarmed = time.Time{}, false
	}
	close(o.asking)
	o.asking = nil
	return o.away, err
}
