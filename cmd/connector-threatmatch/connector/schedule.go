package connector

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/emit/followup"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
	"github.com/opencti-connectors/threatmatch/state"
)

// keepSchedule runs the schedule: a run at the start, then one period after the end of each, one without waiting after every
// reset and after a run whose work was deleted, and one after some minutes when a run failed for another reason. What OpenCTI
// could not import is sent again by a run of its own, that reads no sources, unless the next one comes first.
func (p *program) keepSchedule(ctx context.Context) error {
	var next time.Time // when the sources are to be read
	var failed failures
	p.backfill.scheduledAt(time.Now())
	for deleted := deletions(0); ; {
		found, err := p.lookAtWorks(ctx)
		if err != nil {
			if ctx.Err() != nil && !p.cfg.Connector.RunOnce() {
				return nil
			}
			return err
		}
		why := p.turn(next, found, p.memory.Waiting().Unimported() > 0)
		if why == nothing {
			var going bool
			if next, going = p.idle(ctx, next, false, &deleted); !going {
				return nil
			}
			continue
		}
		err = p.do(ctx, why, next)
		debug.FreeOSMemory() // it may be a day until the next one
		if p.cfg.Connector.RunOnce() {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		if why == imports {
			next = p.cfg.Connector.Period.After(time.Now())
		}
		switch {
		case errors.Is(err, state.ErrReset), errors.Is(err, state.ErrRestored):
			deleted = 0 // an operator has ordered it, and the state's keeper has said so
		case errors.Is(err, emit.ErrWorkGone):
			next = soonest(next, time.Now().Add(deleted.pause()))
			p.backfill.notBefore(next) // what its run had brought, too
			p.log.Warn("the work of the run was deleted in OpenCTI; the next run brings what it had brought", zap.Time("next_run", next), zap.Error(err))
		case err != nil:
			deleted = 0
			if why == backfills {
				break // it has said so, and comes back by itself
			}
			if why == imports { // what could not be mended is tried again by idle
				next = soonest(next, time.Now().Add(failed.pause()))
			}
			p.log.Log(failed.level(err), "the run failed; the next one goes on from where it got", zap.Time("next_run", next), zap.Error(err))
		case why == imports: // a run that read no sources says nothing of them
			failed = failures{}
		}
		p.backfill.scheduledAt(next)
		p.tale.begin(time.Now())
		before := deleted
		var going bool
		if next, going = p.idle(ctx, next, err != nil && p.memory.Waiting().Unimported() > 0, &deleted); !going {
			return nil
		}
		if err == nil && deleted == before {
			deleted = 0
		}
	}
}

// turn tells what the next run is for: the schedule goes first when it is due, and a backfill mends as well.
func (p *program) turn(next time.Time, found followup.Found, unimported bool) purpose {
	now := time.Now()
	at, ordered := p.backfill.due()
	switch {
	case !now.Before(next) || found.Deleted:
		return imports
	case ordered && !now.Before(at):
		return backfills
	case unimported:
		return mends
	}
	return nothing // a backfill was cancelled before its turn came
}

// do does a run, while the schedule's next one is due at a moment.
func (p *program) do(ctx context.Context, why purpose, next time.Time) error {
	if why != backfills {
		p.backfill.letsGoFirst(true)
		defer p.backfill.letsGoFirst(false)
		return p.importOnce(ctx, why, time.Time{})
	}
	until := turnEnds(time.Now(), next)
	if next.Before(until) {
		p.plain.Info(fmt.Sprintf("the backfill begins; the scheduled run, due at %s, waits for it until %s at most", next.UTC().Format(time.RFC3339), until.UTC().Format(time.RFC3339)))
	}
	return p.backfill.run(ctx, until)
}

// turnEnds is when a run of the backfill that begins now makes way for the schedule's, which is due at next.
func turnEnds(now, next time.Time) time.Time {
	least := now.Add(leastTurn)
	if next.After(least) {
		return next
	}
	return least
}

// failures counts runs in a row that failed.
type failures struct {
	count int
	told  time.Time // when it was last told that the credentials are refused
}

// pause counts one more and returns the pause after it: what fails for a moment need not wait for a day, and what lasts is not to
// be met every minute.
func (f *failures) pause() time.Duration {
	again := remote.Backoff{Min: time.Minute, Max: time.Hour, Jitter: func() float64 { return 0 }}
	f.count++
	return again.Delay(f.count - 1)
}

// level is that of the line about a failure: credentials that are refused, and nothing else, stay refused until somebody has time
// for them.
func (f *failures) level(err error) zapcore.Level {
	other := func(part error) bool { return !threatmatch.IsUnauthorized(part) }
	if slices.ContainsFunc(parts(err), other) {
		return zapcore.ErrorLevel
	}
	if !f.told.IsZero() && time.Since(f.told) < time.Hour {
		return zapcore.WarnLevel
	}
	f.told = time.Now()
	return zapcore.ErrorLevel
}

// parts are the failures that are joined in one.
func parts(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, part := range joined.Unwrap() {
		all = append(all, parts(part)...)
	}
	return all
}

// deletions counts works in a row that were deleted.
type deletions int

// pause counts one more and returns the pause after it: none after the first, but somebody, or something, may go on deleting
// them, and each run fetches a part of the import again.
func (d *deletions) pause() time.Duration {
	*d++
	if *d == 1 {
		return 0
	}
	again := remote.Backoff{Min: 30 * time.Second, Max: time.Hour}
	return again.Delay(int(*d) - 2)
}

func soonest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// idle waits for the next run and looks at works meanwhile. It returns when the sources are to be read, which is later where
// the run is only to mend, and false when ctx ended before. due says that something is to be mended already. A work that
// turns out to be deleted counts, and lets the next run begin when its pause is over: what it brought comes from the sources.
func (p *program) idle(ctx context.Context, next time.Time, due bool, deleted *deletions) (time.Time, bool) {
	wake := next
	if due {
		wake = soonest(next, time.Now().Add(mendAfter))
	}
	if at, ordered := p.backfill.due(); ordered {
		wake = soonest(wake, at)
	}
	if !time.Now().Before(wake) {
		return next, true
	}
	p.tellNext(wake)
	for {
		timer := time.NewTimer(time.Until(soonest(wake, time.Now().Add(followup.LookEvery))))
		select {
		case <-timer.C:
		case <-p.resets:
			timer.Stop()
			return time.Time{}, true
		case <-p.backfill.ordered:
			timer.Stop()
			if at, ordered := p.backfill.due(); ordered && !time.Now().Before(at) {
				return next, true
			}
			continue // it was done, or cancelled, meanwhile
		case <-ctx.Done():
			timer.Stop()
			return next, false
		}
		if !time.Now().Before(wake) {
			return next, true
		}
		found, before := p.lookMeanwhile(ctx), wake
		if found.Again > 0 && !due {
			due = true
			wake = soonest(next, time.Now().Add(mendAfter))
		}
		if found.Deleted {
			next = soonest(next, time.Now().Add(deleted.pause()))
			wake = soonest(wake, next)
		}
		if !wake.Equal(before) {
			p.tellNext(wake)
		}
	}
}

// tellNext says, and lets OpenCTI show, when the next run begins, unless that is known.
func (p *program) tellNext(next time.Time) {
	if p.status.Told().NextRun.Equal(next) {
		return
	}
	p.plain.Info("the next run begins in "+words.Duration(time.Until(next)), zap.Time("next_run", next))
	p.status.Tell(func(i *opencti.Info) { i.NextRun = next })
	p.keeper.Ping()
}
