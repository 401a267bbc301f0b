package state

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
)

// answer is what the platform's answer to a ping means.
type answer int

const (
	echoed  answer = iota // the platform holds what was sent
	stale                 // it shows an older state, or has not stored this one yet: send it again
	doubted               // empty, from a platform that does not say since when: ask before believing it
	wiped                 // an operator has emptied it
)

// judge tells what an echo means. held says that the platform has shown a state since stamp, the last reset seen.
func judge(sent string, e opencti.Echo, stamp time.Time, held bool) answer {
	switch {
	case sameText(sent, e.State) || (isNothing(sent) && isNothing(e.State)):
		if e.HasTimestamp && e.StateTimestamp.After(stamp) && !stamp.IsZero() && isNothing(e.State) {
			return wiped // nothing was lost, but a run under way has been purged
		}
		return echoed
	case !isNothing(e.State):
		return stale
	case e.HasTimestamp && !stamp.IsZero():
		if e.StateTimestamp.After(stamp) {
			return wiped
		}
		return stale
	case held:
		return doubted
	default:
		return stale
	}
}

// exchange sends the state in a ping and judges the answer. It reports whether the platform now holds it.
func (k *Keeper) exchange(ctx context.Context) (bool, error) {
	k.pinging.Lock()
	verdict, err := k.exchangeLocked(ctx)
	k.pinging.Unlock()
	k.cfg.OnPing(err)
	if verdict == wiped && err == nil {
		k.cfg.OnReset()
	}
	return verdict == echoed && err == nil, err
}

func (k *Keeper) exchangeLocked(ctx context.Context) (answer, error) {
	if k.doubt {
		verdict, err := k.ask(ctx)
		if err != nil || verdict == wiped {
			k.note(err)
			return verdict, err
		}
	}
	text := k.Text()
	k.noteSent(text)
	e, err := k.cfg.Platform.Ping(ctx, text, k.cfg.Info())
	k.note(err)
	if err != nil {
		k.doubt = k.doubt || !opencti.IsUnsent(err)
		return stale, err
	}
	verdict := judge(text, e, k.stamp, k.held)
	switch verdict {
	case echoed:
		k.held = k.held || !isNothing(e.State)
		if k.stamp.IsZero() {
			k.stamp = e.StateTimestamp
		}
	case doubted:
		return k.ask(ctx)
	case wiped:
		k.reset(e.StateTimestamp)
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
	newer := e.HasTimestamp && !k.stamp.IsZero() && e.StateTimestamp.After(k.stamp)
	untimed := !e.HasTimestamp && k.held
	if isNothing(e.State) && (newer || untimed) {
		k.reset(e.StateTimestamp)
		return wiped, nil
	}
	return stale, nil
}

// reset obeys an operator; k.pinging is held.
func (k *Keeper) reset(stamp time.Time) {
	k.cfg.Log.Warn("the connector was reset in OpenCTI; the next run imports everything again")
	k.stamp, k.held, k.doubt = stamp, false, false
	k.Forget()
}

// note logs the begin and the end of a time in which the platform does not answer.
func (k *Keeper) note(err error) {
	switch {
	case err != nil && !k.failing:
		k.cfg.Log.Warn("OpenCTI does not answer the ping as it should; trying again", zap.Error(err))
	case err == nil && k.failing:
		k.cfg.Log.Info("OpenCTI answers the ping again")
	}
	k.failing = err != nil
}
