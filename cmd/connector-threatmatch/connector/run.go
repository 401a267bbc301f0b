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
func (p *program) importOnce(ctx context.Context) (failure error) {
	runCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p.setEndRun(cancel)
	defer func() {
		p.setEndRun(nil)
		p.status.Tell(func(i *opencti.Info) { i.Buffering = false })
	}()
	registered := p.currentRegistration()

	started := time.Now()
	p.status.Tell(func(i *opencti.Info) { i.LastRun, i.NextRun, i.Buffering = started, time.Time{}, false })
	checkpoint := p.keeper.Begin(ctx)
	publisher, err := p.newPublisher(registered.Queue)
	if err != nil {
		return err
	}
	books := p.newBooks(started)
	emitter := p.newEmitter(publisher, books, registered.UserID)
	var report pipeline.Report
	p.status.RunStarted(emitter, publisher)
	defer func() { p.status.RunEnded(report, failure) }()
	if err := emitter.Recover(runCtx); err != nil {
		p.endDelivery(ctx, publisher, emitter)
		return fmt.Errorf("take up what waits for other objects: %w", err)
	}
	report = pipeline.Run(runCtx, pipeline.Config{Observer: p.progress, Log: p.log}, sources(p.cfg, p.api), p.transformer, emitter, checkpoint)
	p.endDelivery(ctx, publisher, emitter)
	failure = p.closeWork(ctx, runCtx, report, books, emitter.Account(), checkpoint)
	p.logRun(report, emitter.Account(), time.Since(started), failure)
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

func (p *program) endDelivery(ctx context.Context, publisher *rabbitmq.Publisher, emitter *emit.Emitter) {
	closing, cancel := closingContext(ctx)
	defer cancel()
	if err := publisher.Close(closing); err != nil {
		p.log.Debug("the connection to RabbitMQ did not close in order", zap.Error(err))
	}
	emitter.Close()
}

// closeWork closes the work and, where it was deleted, takes back what the run committed. It returns what failed.
func (p *program) closeWork(ctx, runCtx context.Context, report pipeline.Report, books *emit.Books, a emit.Account, checkpoint *state.RunCheckpoint) error {
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
