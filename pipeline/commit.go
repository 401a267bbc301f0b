package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// committer stores the cursors that the ledger has moved.
type committer struct {
	ledger     *ledger
	checkpoint Checkpoint
	every      time.Duration // the least time between two commits of a run under way
	log        *zap.Logger
}

// whileRunning commits what has moved, at most once in every, until it is stopped. A commit that fails is
// tried again with the next one: in between, the state only says less than is true.
func (c *committer) whileRunning(ctx context.Context, stop <-chan struct{}) {
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
		case <-c.ledger.changed:
		case <-stop:
			return
		case <-ctx.Done():
			return
		}
		if err := c.commit(ctx); err != nil {
			if ctx.Err() != nil || errors.Is(err, ErrAbandon) {
				return
			}
			c.log.Warn("the state could not be committed; going on, the next commit covers it", zap.Error(err))
		}
		timer.Reset(c.every)
	}
}

// lastCommit is how long a run that has nothing else left to do waits for a commit: a platform that restarts is worth it.
const lastCommit = time.Minute

// rest commits what was delivered, on a context that outlives the run's.
func (c *committer) rest(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, lastCommit)
	defer cancel()
	err := c.commit(limited)
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, cause) {
		err = errors.Join(err, cause) // the platform's client knows only that it was told to stop
	}
	return err
}

func (c *committer) commit(ctx context.Context) error {
	cursors := c.ledger.take()
	if len(cursors) == 0 {
		return nil
	}
	if err := c.checkpoint.Commit(ctx, cursors); err != nil {
		c.ledger.putBack(cursors)
		return fmt.Errorf("commit the state: %w", err)
	}
	return nil
}
