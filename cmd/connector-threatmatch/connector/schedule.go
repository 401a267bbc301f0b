package connector

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
	"github.com/opencti-connectors/threatmatch/state"
)

// keepSchedule runs the schedule: a run at the start, then one period after the end of each, and one without waiting after
// every reset and after a run whose work was deleted.
func (p *program) keepSchedule(ctx context.Context) error {
	for deleted := 0; ; { // works in a row
		if err := p.lookAtWorks(ctx); err != nil {
			if ctx.Err() != nil && !p.cfg.Connector.RunOnce() {
				return nil
			}
			return err
		}
		err := p.importOnce(ctx)
		if p.cfg.Connector.RunOnce() {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		next := p.cfg.Connector.Period.After(time.Now())
		switch {
		case errors.Is(err, state.ErrReset):
			deleted = 0 // an operator has ordered it, and the state's keeper has said so
		case errors.Is(err, emit.ErrWorkGone):
			next = earlier(next, time.Now().Add(pauseAfter(deleted)))
			deleted++
			p.log.Warn("the work of the run was deleted in OpenCTI; the next run brings what it had brought", zap.Time("next_run", next), zap.Error(err))
		case err != nil:
			deleted = 0
			p.log.Error("the run failed; the next one goes on from where it got", zap.Error(err))
		default:
			deleted = 0
		}
		p.status.Tell(func(i *opencti.Info) { i.NextRun = next })
		p.keeper.Ping()
		if !p.sleepUntil(ctx, next) {
			return nil
		}
	}
}

// pauseAfter is the pause after a deleted work that follows so many others: none after the first, but somebody, or
// something, may go on deleting them, and each run fetches a part of the import again.
func pauseAfter(deleted int) time.Duration {
	if deleted == 0 {
		return 0
	}
	again := remote.Backoff{Min: 30 * time.Second, Max: time.Hour}
	return again.Delay(deleted - 1)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// sleepUntil waits for the next run and reports false when ctx ended before.
func (p *program) sleepUntil(ctx context.Context, next time.Time) bool {
	timer := time.NewTimer(time.Until(next))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.resets:
	case <-ctx.Done():
		return false
	}
	return true
}
