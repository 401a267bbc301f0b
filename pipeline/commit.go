package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// commitWhileRunning commits what has moved, at most once in CommitEvery, until it is stopped. A commit that fails is
// tried again with the next one: in between, the state only says less than is true.
func (r *run) commitWhileRunning(ctx context.Context, stop <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-stop:
			return
		case <-ctx.Done():
			return
		}
		select {
		case <-r.ledger.changed:
		case <-stop:
			return
		case <-ctx.Done():
			return
		}
		if err := r.commit(ctx); err != nil {
			if ctx.Err() != nil || errors.Is(err, ErrAbandon) {
				return
			}
			r.cfg.Log.Warn("the state could not be committed; going on, the next commit covers it", zap.Error(err))
		}
		timer.Reset(r.cfg.CommitEvery)
	}
}

// lastCommit is how long a run that has nothing else left to do waits for a commit: a platform that restarts is worth it.
const lastCommit = time.Minute

// commitRest commits what was delivered, on a context that outlives the run's.
func (r *run) commitRest(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lastCommit)
	defer cancel()
	return r.commit(ctx)
}

func (r *run) commit(ctx context.Context) error {
	cursors := r.ledger.take()
	if len(cursors) == 0 {
		return nil
	}
	if err := r.checkpoint.Commit(ctx, cursors); err != nil {
		r.ledger.putBack(cursors)
		return fmt.Errorf("commit the state: %w", err)
	}
	return nil
}
