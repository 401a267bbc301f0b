package connector

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
)

// keepSchedule runs the schedule: a run at the start, then one period after the end of each, and one after every reset.
func (c *connector) keepSchedule(ctx context.Context) error {
	for {
		err := c.importOnce(ctx)
		if c.cfg.Connector.RunOnce() {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			c.log.Error("the run failed; the next one goes on from where it got", zap.Error(err))
		}
		next := c.cfg.Connector.Period.After(time.Now())
		c.status.Tell(func(i *opencti.Info) { i.NextRun = next })
		c.keeper.Ping()
		if !c.sleepUntil(ctx, next) {
			return nil
		}
	}
}

// sleepUntil waits for the next run and reports false when ctx ended before.
func (c *connector) sleepUntil(ctx context.Context, next time.Time) bool {
	timer := time.NewTimer(time.Until(next))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.resets:
	case <-ctx.Done():
		return false
	}
	return true
}
