package connector

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/state"
)

// interrupted is what OpenCTI shows of a work that its run did not close.
const interrupted = "the connector was interrupted; what it had not delivered follows with its next run"

// lookAtWorks finds out what became of the works of earlier runs, before the next one begins: that goes back to where one
// began that was deleted too early, and what a crash left open is closed. It waits for a platform that is away. The error
// is that ctx ended or, in run-and-terminate mode, that the platform refuses for good.
func (p *program) lookAtWorks(ctx context.Context) error {
	for _, w := range p.keeper.Works() {
		if err := p.patiently(ctx, "look at the work of an earlier run", func() error { return p.lookAtWork(ctx, w) }); err != nil {
			return err
		}
	}
	return nil
}

func (p *program) lookAtWork(ctx context.Context, w state.Work) error {
	report, err := p.platform.Work(ctx, w.ID)
	about := []zap.Field{zap.String("work", w.ID), zap.Time("opened", w.Opened)}
	switch {
	case errors.Is(err, opencti.ErrWorkNotAlive):
		p.log.Warn("a work was deleted in OpenCTI before all of it was imported; what its run brought is imported again", about...)
		return p.keeper.Void(ctx, w.ID)
	case opencti.IsRefused(err):
		p.log.Warn("OpenCTI does not say what became of a work; check the rights of the token's user", append(about, zap.Error(err))...)
		return nil
	case err != nil:
		return err
	case report.Complete:
		p.keeper.Imported(w.ID)
		return nil
	case !w.Open:
		return nil
	case !report.Processed:
		p.log.Info("closing a work that an interrupted run left open", about...)
		if err := p.platform.CloseWork(ctx, w.ID, interrupted, true); err != nil {
			return err
		}
	}
	return p.keeper.Closed(ctx, w.ID)
}
