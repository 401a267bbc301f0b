package connector

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
)

// keepSchedule runs the schedule: a run at the start, then one period after the end of each, and one after every reset.
func (p *program) keepSchedule(ctx context.Context) error {
	for {
		err := p.importOnce(ctx)
		if p.cfg.Connector.RunOnce() {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			p.log.Error("the run failed; the next one goes on from where it got", zap.Error(err))
		}
		next := p.cfg.Connector.Period.After(time.Now())
		p.status.Tell(func(i *opencti.Info) { i.NextRun = next })
		p.keeper.Ping()
		if !p.sleepUntil(ctx, next) {
			return nil
		}
	}
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
