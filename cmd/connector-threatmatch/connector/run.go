package connector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state"
)

// importOnce imports what changed since the last run. It returns nil when all of it was delivered.
func (c *connector) importOnce(ctx context.Context) (failure error) {
	runCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.setEndRun(cancel)
	defer func() {
		c.setEndRun(nil)
		c.status.Tell(func(i *opencti.Info) { i.Buffering = false })
	}()
	registered := c.currentRegistration()

	started := time.Now()
	c.status.Tell(func(i *opencti.Info) { i.LastRun, i.NextRun, i.Buffering = started, time.Time{}, false })
	checkpoint := c.keeper.Begin(ctx)
	publisher, err := c.newPublisher(registered.Queue)
	if err != nil {
		return err
	}
	books := c.newBooks(started)
	emitter := c.newEmitter(publisher, books, registered.UserID)
	var report pipeline.Report
	c.status.RunStarted(emitter, publisher)
	defer func() { c.status.RunEnded(report, failure) }()
	if err := emitter.Recover(runCtx); err != nil {
		c.endDelivery(ctx, publisher)
		return fmt.Errorf("take up what waits for other objects: %w", err)
	}
	report = pipeline.Run(runCtx, pipeline.Config{Observer: c.progress, Log: c.log}, sources(c.cfg, c.api), c.transformer, emitter, checkpoint)
	c.endDelivery(ctx, publisher)
	failure = c.closeWork(ctx, runCtx, report, books, emitter.Account(), checkpoint)
	c.logRun(report, emitter.Account(), time.Since(started), failure)
	return failure
}

// stopGrace is how long the end of a run may take for one thing, when the program was told to stop.
const stopGrace = time.Second

// closingContext returns a context for what ends a run: it outlives ctx, for a moment or, where nobody waits, for longer.
func closingContext(ctx context.Context) (context.Context, context.CancelFunc) {
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(stopGrace, cancel) })
	return closing, func() { stop(); cancel() }
}

func (c *connector) endDelivery(ctx context.Context, publisher *rabbitmq.Publisher) {
	closing, cancel := closingContext(ctx)
	defer cancel()
	if err := publisher.Close(closing); err != nil {
		c.log.Debug("the connection to RabbitMQ did not close in order", zap.Error(err))
	}
}

// closeWork closes the work and, where it was deleted, takes back what the run committed. It returns what failed.
func (c *connector) closeWork(ctx, runCtx context.Context, report pipeline.Report, books *emit.Books, a emit.Account, checkpoint *state.RunCheckpoint) error {
	failure := report.Failure()
	closing, cancel := closingContext(ctx)
	defer cancel()
	var err error
	if !errors.Is(failure, emit.ErrWorkGone) {
		err = books.Close(closing, workMessage(report, a, failure), failure != nil)
	}
	if errors.Is(failure, emit.ErrWorkGone) || errors.Is(err, emit.ErrWorkGone) {
		failure = errors.Join(failure, err, checkpoint.Revoke(closing))
		err = nil
	}
	if err != nil && !errors.Is(context.Cause(runCtx), state.ErrReset) {
		failure = errors.Join(failure, err)
	}
	return failure
}
