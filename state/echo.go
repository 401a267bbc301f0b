package state

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
)

// answer is what the platform's answer to a ping means.
type answer int

const (
	echoed  answer = iota // the platform holds what was sent
	stale                 // it shows an older state, or has not stored this one yet: send it again
	doubted               // empty, from a platform that does not say since when: ask before believing it
	wiped                 // an operator has emptied it, or deleted the connector, which was registered anew since
)

// judge tells what an echo means. stamp is of the last reset seen; settled says that a ping was answered before, so that
// the mark of a reset that came earlier is gone.
func judge(sent string, e Held, stamp time.Time, settled bool) answer {
	timed := !e.Stamp.IsZero() && !stamp.IsZero()
	switch {
	case timed && e.Stamp.After(stamp):
		return wiped // even when it echoes: the queue was purged, or went with the connector
	case sameText(sent, e.State) || (isNothing(sent) && isNothing(e.State)):
		return echoed
	case !isNothing(e.State) || timed:
		return stale
	case settled:
		return doubted
	default:
		return stale
	}
}

// exchange sends the state in a ping and judges the answer. It reports whether the platform now holds it. look has the
// keeper see before what the platform holds.
func (k *Keeper) exchange(ctx context.Context, look bool) (bool, error) {
	if err := k.lock(ctx); err != nil {
		return false, err
	}
	verdict, err := k.exchangeLocked(ctx, look)
	k.unlock()
	k.cfg.OnPing(err)
	if verdict == wiped && err == nil {
		k.tellReset()
	}
	return verdict == echoed && err == nil, err
}

// lock waits for the exchange under way, which can take as long as the platform is slow.
func (k *Keeper) lock(ctx context.Context) error {
	select {
	case k.pinging <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the ping under way: %w", context.Cause(ctx))
	}
}

func (k *Keeper) unlock() { <-k.pinging }

// tellReset makes a reset known, and has the platform hold the empty state soon: it may have stored the one before.
func (k *Keeper) tellReset() {
	k.cfg.OnReset()
	k.Ping()
}

func (k *Keeper) exchangeLocked(ctx context.Context, look bool) (answer, error) {
	switch {
	case k.doubt:
		verdict, err := k.ask(ctx)
		if err != nil || verdict == wiped {
			k.note(ctx, err)
			return verdict, err
		}
	case look && !k.failing:
		if k.look(ctx) == wiped {
			return wiped, nil
		}
	}
	text := k.Text()
	k.noteSent(text)
	e, err := k.cfg.Platform.Ping(ctx, text)
	k.note(ctx, err)
	if err != nil {
		k.doubt = k.doubt || !consequences(err).Unsent
		return stale, err
	}
	verdict := judge(text, e, k.stamp, k.held || k.answered)
	k.answered = true
	switch verdict {
	case echoed:
		k.held = !isNothing(e.State)
		if k.stamp.IsZero() {
			k.stamp = e.Stamp
		}
	case doubted:
		k.doubt = true // also when the question fails
		return k.makeSure(ctx)
	case wiped:
		k.reset(e.Stamp)
	case stale:
		k.cfg.Log.Debug("OpenCTI answers with an older state; sending the present one again", zap.Bool("empty", isNothing(e.State)))
	}
	return verdict, nil
}

// ask looks at the state without touching it, where the answer to a ping was lost or cannot be trusted: the ping that
// reports a reset also clears its mark, so another ping would store the old state again.
func (k *Keeper) ask(ctx context.Context) (answer, error) {
	e, err := k.cfg.Platform.ConnectorState(ctx)
	if err != nil {
		return stale, err
	}
	k.doubt = false
	return k.see(e), nil
}

// makeSure finds out whether a state that was sent is not there because of a reset. Storage that lags shows it in a
// moment; after a reset it stays away.
func (k *Keeper) makeSure(ctx context.Context) (answer, error) {
	const (
		looks = 5
		pause = time.Second
	)
	var e Held
	for i := range looks {
		if i > 0 {
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return stale, context.Cause(ctx)
			}
		}
		var err error
		if e, err = k.cfg.Platform.ConnectorState(ctx); err != nil {
			return stale, err
		}
		if !isNothing(e.State) || (!e.Stamp.IsZero() && !k.stamp.IsZero()) {
			k.doubt = false
			return k.see(e), nil
		}
	}
	k.reset(e.Stamp)
	return wiped, nil
}

// look asks for the state ahead of a ping, which would cover what another instance has stored. Where that fails, the
// ping will tell.
func (k *Keeper) look(ctx context.Context) answer {
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	verdict, err := k.ask(ctx)
	if err != nil {
		return stale
	}
	return verdict
}

// see draws conclusions from a state that the platform shows without having been sent one; k.pinging is held.
func (k *Keeper) see(e Held) answer {
	k.watch(e.State)
	timed := !e.Stamp.IsZero() && !k.stamp.IsZero()
	if (timed && e.Stamp.After(k.stamp)) || (!timed && k.held && isNothing(e.State)) {
		k.answered = false // the mark still stands: the next ping will be answered with the empty state once more
		k.reset(e.Stamp)
		return wiped
	}
	return stale
}

// watch notices a state that somebody else has stored; k.pinging is held.
func (k *Keeper) watch(text string) {
	const quiet = 8 // looks without another's state, after which the next one is news again
	ours := isNothing(text) || slices.ContainsFunc(k.sent, func(sent string) bool { return sameText(sent, text) })
	switch {
	case ours:
		k.intruded = max(0, k.intruded-1)
		return
	case k.intruded == 0:
		k.cfg.Log.Error("another instance with the same CONNECTOR_ID is writing the state in OpenCTI: objects are imported twice and " +
			"progress is lost; stop one of them, or give it a CONNECTOR_ID of its own")
	}
	k.intruded = quiet
}

// Registered tells the keeper that the connector was registered again. One that was deleted meanwhile came back as a new
// one, and its queue had gone with it: that is a reset. The error is that ctx ended before.
func (k *Keeper) Registered(ctx context.Context, held Held) error {
	if err := k.lock(ctx); err != nil {
		return err
	}
	verdict := k.see(held)
	k.unlock()
	if verdict == wiped {
		k.tellReset()
	}
	return nil
}

// reset obeys an operator; k.pinging is held.
func (k *Keeper) reset(stamp time.Time) {
	k.cfg.Log.Warn("the connector was reset in OpenCTI; the next run imports everything again")
	k.stamp, k.held, k.doubt = stamp, false, false
	k.Forget()
}

// note logs the begin and the end of a time in which the platform does not answer.
func (k *Keeper) note(ctx context.Context, err error) {
	switch {
	case err != nil && ctx.Err() != nil:
		return // it was not asked to
	case err != nil && !k.failing:
		k.cfg.Log.Warn("OpenCTI does not answer the ping as it should; trying again", zap.Error(err))
	case err == nil && k.failing:
		k.cfg.Log.Info("OpenCTI answers the ping again")
	}
	k.failing = err != nil
}
