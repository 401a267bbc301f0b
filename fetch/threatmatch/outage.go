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

// AwayError says that the API, or all of it that a dataset needs, has not answered for as long as was put up with. It is no
// verdict on what was asked for.
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

// IsAway says that a call was given up because the API, or its part of it, is away.
func IsAway(err error) bool {
	var away *AwayError
	return errors.As(err, &away)
}

// outages are those of the API's parts: each has services of its own behind it and can be away by itself, which is to hold up
// nobody who does not need it.
type outages struct {
	cfg   Config
	probe func(ctx context.Context, part string) error // a cheap call, tried once
	all   *remote.Silence                              // tells where no part answers

	mu    sync.Mutex
	parts map[string]*outage
}

func (o *outages) of(part string) *outage {
	o.mu.Lock()
	defer o.mu.Unlock()
	one := o.parts[part]
	if one == nil {
		one = &outage{outages: o, part: part}
		o.parts[part] = one
	}
	return one
}

// renew lets outages that were waited for in vain be waited for again.
func (o *outages) renew() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, one := range o.parts {
		one.renew()
	}
}

// outage is a time in which a part of the API answers nobody. All calls of the part share it: one asks for them whether it is over.
type outage struct {
	*outages
	part string

	mu     sync.Mutex
	asking *asking   // nil while nobody asks
	began  time.Time // when the part was first found away; zero while it answers
	spent  bool      // it was waited for in vain: who meets it now asks once
	told   bool      // by itself, while others were answered
}

// asking is one call's asking for all; verdict and away may be read once done is closed.
type asking struct {
	done    chan struct{}
	verdict error // nil when the part answers, context.Canceled when the one who asked has left
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

// isKnown says that the part is known to be away.
func (o *outage) isKnown() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.began.IsZero()
}

// pass waits until the part is not known to be away, before a call.
func (o *outage) pass(ctx context.Context) error {
	if !o.isKnown() { // it is also when all who asked have left: whoever comes next asks before anything else
		return nil
	}
	_, err := o.await(ctx)
	return err
}

// await returns when the part answers, and whether it was away before. The error is that ctx ended, or an [AwayError].
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
		found := o.probe(ctx, o.part)
		switch {
		case ctx.Err() != nil:
			return context.Canceled
		case !isDown(found):
			return nil
		}
		a.away = true
		lasted, pause := o.note(found), pace.Delay(failures)
		if lasted < partAlarm {
			pause = min(pause, partAlarm-lasted) // to tell of it in time
		}
		if lasted+pause > o.cfg.Patience {
			return &AwayError{lasted, found}
		}
		if remote.Wait(ctx, pause) != nil {
			return context.Canceled
		}
	}
}

// partAlarm is how long a part is away, after the attempts of a call and while others are answered, before it is told of: a minute in
// all.
const partAlarm = 45 * time.Second

// note takes note of the part being away, and returns for how long. It tells of one that is away alone, once.
func (o *outage) note(found error) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.began.IsZero() {
		o.began = time.Now()
	}
	lasted := time.Since(o.began)
	if lasted >= partAlarm && !o.told && !o.all.Told() {
		o.told = true
		o.cfg.Alarms.Error(o.name()+" does not answer; the connector waits with that, and goes on with the rest",
			zap.Duration("for", lasted), zap.Duration("waits_at_most", o.cfg.Patience), zap.Error(found))
	}
	return lasted
}

// answer ends the asking with what all who wait are told.
func (o *outage) answer(a *asking, verdict error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if IsAway(verdict) {
		o.spent = true
	} else if !errors.Is(verdict, context.Canceled) && !o.began.IsZero() {
		if o.told {
			o.cfg.Alarms.Error(o.name()+remote.AnswersAgain, zap.Duration("after", time.Since(o.began)))
		}
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

// name is what is told of, not to be taken for the whole of the API.
func (o *outage) name() string { return "ThreatMatch, asked for " + o.part + "," }

// forget wants mu held.
func (o *outage) forget() { o.began, o.spent, o.told = time.Time{}, false, false }
