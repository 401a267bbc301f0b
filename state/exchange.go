package state

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// exchange is what is said to the platform about the state and what its answers mean. One is under way at a time: who has
// its turn may use the rest.
type exchange struct {
	platform Platform
	log      *zap.Logger
	turn     chan struct{} // holds a token while somebody has it
	// recognize tells of a state who wrote it, and whether it is one of before the last that the platform has held.
	recognize func(text string) (w writer, older bool)
	intruder  *intruder

	stamp    time.Time // of the creation or the last reset that was seen
	answered bool      // a ping was answered, so the mark of an earlier reset is gone
	held     bool      // the platform has shown a state that was not empty since then
	doubt    bool      // the answer to a ping was lost, and with it perhaps the news of a reset
	failing  bool
	backup   Held   // the state that was restored, for the verdict
	adopted  string // the state that was taken over, until a ping has covered it
	late     []lost // the last pings without an answer, which the platform may still obey
}

// lost is a ping whose answer was lost.
type lost struct {
	text string
	at   time.Time
}

func newExchange(cfg Config, recognize func(string) (writer, bool)) *exchange {
	return &exchange{
		platform: cfg.Platform, recognize: recognize, intruder: newIntruder(cfg.Index.Folder(), cfg.Log), log: cfg.Log,
		turn: make(chan struct{}, 1),
	}
}

// begin waits for the exchange under way, which can take as long as the platform is slow.
func (x *exchange) begin(ctx context.Context) error {
	select {
	case x.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the ping under way: %w", context.Cause(ctx))
	}
}

func (x *exchange) end() { <-x.turn }

// adopt takes over what the platform holds at registration.
func (x *exchange) adopt(h Held) {
	x.stamp, x.held, x.doubt = h.Stamp, !isNothing(h.State), false
	x.adopted = h.State
	w, _ := x.recognize(h.State)
	x.intruder.adopt(w)
}

// send sends the state in a ping and judges the answer. It first asks what the platform holds: the ping would cover what
// another instance has stored, or the state of a backup; so where the platform does not answer no ping follows. One that refuses
// the question is pinged all the same.
func (x *exchange) send(ctx context.Context, state func() string) (answer, error) {
	verdict, err := x.ask(ctx)
	if err != nil && (consequences(err).Temporary || ctx.Err() != nil) {
		x.note(ctx, err)
		return stale, err
	}
	if verdict == wiped || verdict == fromBackup {
		x.note(ctx, nil)
		return verdict, nil
	}
	text := state()
	h, err := x.platform.Ping(ctx, text)
	x.note(ctx, err)
	if err != nil {
		if !consequences(err).Unsent {
			x.doubt = true
			const few = 8 // a platform whose storage lags is a few behind, not many
			x.late = append(x.late[max(0, len(x.late)-few+1):], lost{text, time.Now()})
		}
		return stale, err
	}
	verdict = judge(text, h, x.stamp, x.held || x.answered)
	x.answered = true
	x.intruder.answered()
	switch verdict {
	case echoed:
		x.held, x.adopted = !isNothing(h.State), ""
		if x.stamp.IsZero() {
			x.stamp = h.Stamp
		}
	case doubted:
		x.doubt = true // also when the question fails
		return x.makeSure(ctx)
	case wiped:
		x.wipe(h.Stamp)
	case stale:
		x.log.Debug("OpenCTI answers with an older state; sending the present one again", zap.Bool("empty", isNothing(h.State)))
	}
	return verdict, nil
}

// ask looks at the state without touching it, where the answer to a ping was lost or cannot be trusted: the ping that
// reports a reset also clears its mark, so another ping would store the old state again.
func (x *exchange) ask(ctx context.Context) (answer, error) {
	h, err := x.platform.ConnectorState(ctx)
	if err != nil {
		return stale, err
	}
	return x.conclude(ctx, h)
}

// conclude finds out what a state means that the platform shows without having been sent one.
func (x *exchange) conclude(ctx context.Context, h Held) (answer, error) {
	switch {
	case x.looksRestored(h):
		return x.makeSureOfBackup(ctx)
	case x.held && isNothing(h.State) && (h.Stamp.IsZero() || x.stamp.IsZero()):
		x.doubt = true
		verdict, err := x.makeSure(ctx)
		if verdict == wiped {
			x.answered = false // see there
		}
		return verdict, err
	}
	x.doubt = false
	return x.see(h), nil
}

const (
	looks = 10 // as many show what the platform holds where its storage lags
	pause = time.Second
)

// looksRestored reports whether a state is older than what the platform has held, and neither came with a ping that was long
// under way, which stays, too, until the next, nor from an instance with a copy of the folder. An empty one can also be that of a
// reset.
func (x *exchange) looksRestored(h Held) bool {
	w, older := x.recognize(h.State)
	if isNothing(h.State) {
		timed := !h.Stamp.IsZero() && !x.stamp.IsZero()
		older = x.held && timed && !h.Stamp.After(x.stamp)
	} else if sameText(x.adopted, h.State) || x.intruder.goesOn(w) {
		return false
	}
	return older && !slices.ContainsFunc(x.late, func(l lost) bool {
		return time.Since(l.at) < latest && sameText(l.text, h.State)
	})
}

// makeSureOfBackup finds out whether a state that is older than what the platform has held is that of a backup. Storage
// that lags shows the newer one in a moment. Until that is clear no ping may cover it.
func (x *exchange) makeSureOfBackup(ctx context.Context) (answer, error) {
	x.doubt = true
	var h Held
	for range looks {
		if err := remote.Wait(ctx, pause); err != nil {
			return stale, err
		}
		var err error
		if h, err = x.platform.ConnectorState(ctx); err != nil {
			return stale, err
		}
		if !x.looksRestored(h) {
			x.doubt = false
			return x.see(h), nil
		}
	}
	if w, _ := x.recognize(h.State); !isNothing(h.State) && !x.intruder.wrote(w) && x.intruder.suspected(w) > 0 {
		x.doubt = false
		x.intruder.tell(w, false)
		return stale, nil
	}
	x.backup = h
	return fromBackup, nil
}

// makeSure finds out whether a state that was sent is not there because of a reset. Storage that lags shows it in a
// moment; after a reset it stays away.
func (x *exchange) makeSure(ctx context.Context) (answer, error) {
	var h Held
	for i := range looks {
		if i > 0 {
			if err := remote.Wait(ctx, pause); err != nil {
				return stale, err
			}
		}
		var err error
		if h, err = x.platform.ConnectorState(ctx); err != nil {
			return stale, err
		}
		if x.looksRestored(h) {
			return x.makeSureOfBackup(ctx)
		}
		if !isNothing(h.State) || (!h.Stamp.IsZero() && !x.stamp.IsZero()) {
			x.doubt = false
			return x.see(h), nil
		}
	}
	x.wipe(h.Stamp)
	return wiped, nil
}

// see draws conclusions from a state that the platform shows without having been sent one.
func (x *exchange) see(h Held) answer {
	if !isNothing(h.State) {
		w, _ := x.recognize(h.State)
		x.intruder.see(w)
	}
	timed := !h.Stamp.IsZero() && !x.stamp.IsZero()
	if (timed && h.Stamp.After(x.stamp)) || (!timed && x.held && isNothing(h.State)) {
		x.answered = false // the mark still stands: the next ping will be answered with the empty state once more
		x.wipe(h.Stamp)
		return wiped
	}
	return stale
}

// wipe begins anew after a reset.
func (x *exchange) wipe(stamp time.Time) {
	x.stamp, x.held, x.doubt, x.adopted = stamp, false, false, ""
}

// note logs the begin and the end of a time in which the platform does not answer.
func (x *exchange) note(ctx context.Context, err error) {
	switch {
	case err != nil && ctx.Err() != nil:
		return // it was not asked to
	case err != nil && !x.failing && consequences(err).Refused:
		x.log.Error("OpenCTI refuses to keep the state of the connector; check that the user of OPENCTI_TOKEN may use connectors", zap.Error(err))
	case err != nil && !x.failing:
		x.log.Warn("OpenCTI does not answer the ping as it should; trying again", zap.Error(err))
	case err == nil && x.failing:
		x.log.Info("OpenCTI answers the ping again")
	}
	x.failing = err != nil
}
