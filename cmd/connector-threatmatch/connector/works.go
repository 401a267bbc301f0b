package connector

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit/followup"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
	"github.com/opencti-connectors/threatmatch/transform"
)

// newFollower returns what follows the works of earlier runs; the index is open and there is a keeper.
func (p *program) newFollower() *followup.Follower {
	return followup.New(followup.Config{
		Platform: p.status.WatchPlatform(p.platform), Keeper: p.keeper, Index: p.memory.Index, Reread: transform.Reread, AsAddition: transform.AsAddition, Log: p.log,
	})
}

// lookAtWorks finds out what became of the works of earlier runs, before the next one begins: that goes back to where one
// began that was deleted too early, what a crash left open is closed, and what OpenCTI could not import is sent again. It
// waits for a platform that is away, and for nothing else. The error is that ctx ended.
func (p *program) lookAtWorks(ctx context.Context) (found followup.Found, err error) {
	pace := remote.Backoff{Min: followup.LookEvery, Max: followup.LookEvery, Jitter: func() float64 { return 0 }}
	err = p.patiently(ctx, "look at the works of earlier runs", pace, func() error {
		more, err := p.follower.Look(ctx, true)
		found = found.And(more)
		return err
	})
	p.tale.tell(p.plain, p.imported.Imports(), found, len(p.keeper.Importing()), time.Now())
	return found, err
}

// lookMeanwhile looks at works between two runs. What fails is tried again a minute later.
func (p *program) lookMeanwhile(ctx context.Context) followup.Found {
	found, err := p.follower.Look(ctx, false)
	p.tale.tell(p.plain, p.imported.Imports(), found, len(p.keeper.Importing()), time.Now())
	p.rememberRate(rateWrittenEvery)
	switch {
	case err != nil && ctx.Err() == nil && !p.unseen:
		p.unseen = true
		p.log.Warn("OpenCTI does not say what became of a work; asking again every minute", zap.Error(err))
	case err == nil:
		p.unseen = false
	}
	return found
}

// mendAfter is how long after a failed import was found a run sends the object again: what passes, such as a lock, has passed
// by then, and all that a work brings to light in those minutes goes with one run.
const mendAfter = 10 * time.Minute
