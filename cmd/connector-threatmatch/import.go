package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state"
	"github.com/opencti-connectors/threatmatch/transform"
)

// importOnce imports what changed since the last run. It returns nil when all of it was delivered.
func (c *connector) importOnce(ctx context.Context) (failure error) {
	runCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.mu.Lock()
	c.endRun = cancel
	queue, applicant := c.registered.Queue, c.registered.UserID
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.endRun, c.info.Buffering = nil, false
	}()

	started := time.Now()
	c.setInfo(func(i *opencti.Info) { i.LastRun, i.NextRun, i.Buffering = started, time.Time{}, false })
	checkpoint := c.keeper.Begin(ctx)
	conn, err := c.brokerConnection(queue)
	if err != nil {
		return err
	}
	publisher := rabbitmq.New(rabbitmq.Config{
		Connection: conn, Exchange: queue.Exchange, RoutingKey: queue.RoutingKey, Dial: c.carriers.broker, Refresh: c.refreshBroker, Log: c.log,
	})
	books := emit.NewBooks(c.watched(), c.workName(started), c.log)
	emitter := c.newEmitter(publisher, books, applicant, started)
	var report pipeline.Report
	c.status.runStarted(emitter, publisher)
	defer func() { c.status.runEnded(report, failure) }()
	if err := emitter.Recover(runCtx); err != nil {
		c.endDelivery(ctx, publisher)
		return fmt.Errorf("take up what waits for other objects: %w", err)
	}
	report = pipeline.Run(runCtx, pipeline.Config{Observer: c.progress, Log: c.log}, c.sources(), c.transformer, emitter, checkpoint)
	c.endDelivery(ctx, publisher)
	failure = c.settle(ctx, runCtx, report, books, emitter.Account(), checkpoint)
	c.logRun(report, emitter.Account(), time.Since(started), failure)
	return failure
}

// watched is the platform as a run uses it.
func (c *connector) watched() watchedPlatform { return watchedPlatform{c.platform, c.status} }

// workName is the work's name, as the platform lists it.
func (c *connector) workName(started time.Time) string {
	return fmt.Sprintf("%s run @ %s", c.cfg.Connector.Name, started.UTC().Format("2006-01-02T15:04:05-07:00"))
}

func (c *connector) newEmitter(publisher emit.Publisher, books *emit.Books, applicant string, started time.Time) *emit.Emitter {
	threshold := int64(c.cfg.Connector.QueueThreshold * 1e6)
	gauge := emit.NewGauge(c.watched(), threshold, c.reportQueue, c.log)
	return emit.New(emit.Config{
		Publisher: publisher, Index: c.index, Books: books, Gauge: gauge,
		Store: c.index.Waiting(), Durable: c.durable, Platform: c.watched(), WithoutRefs: transform.WithoutRefs,
		ApplicantID: applicant, Run: rand.Uint32(), MaxMessageBytes: c.cfg.Connector.MaxMessageBytes,
		BatchBytes: batchBytes(threshold), Sent: c.progress.Sent, Log: c.log,
	})
}

// batchBytes keeps a batch small beside a small threshold, for the queue is looked at between batches.
func batchBytes(threshold int64) int {
	const usual = 8 << 20
	if threshold <= 0 {
		return usual
	}
	return int(max(1, min(usual, threshold/20)))
}

// reportQueue shows OpenCTI how full the queue is and whether the connector waits for it.
func (c *connector) reportQueue(buffering bool, bytes int64) {
	changed := false
	c.setInfo(func(i *opencti.Info) {
		changed = i.Buffering != buffering
		i.Buffering, i.QueueMessagesSize = buffering, float64(bytes)/1e6
	})
	if changed {
		c.keeper.Ping()
	}
}

func (c *connector) sources() []pipeline.Source {
	var sources []pipeline.Source
	options := fetch.Options{Concurrency: c.cfg.ThreatMatch.Concurrency}
	for _, name := range c.cfg.datasets() {
		if name == indicatorsDataset {
			sources = append(sources, fetch.Indicators(c.api, options))
		} else {
			sources = append(sources, fetch.Items(c.api, name, options))
		}
	}
	return sources
}

// lastWords is how long the end of a run may take for one thing, when the program was told to stop.
const lastWords = time.Second

// farewell returns a context for what ends a run: it outlives ctx, for a moment or, where nobody waits, for longer.
func farewell(ctx context.Context) (context.Context, context.CancelFunc) {
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(lastWords, cancel) })
	return closing, func() { stop(); cancel() }
}

func (c *connector) endDelivery(ctx context.Context, publisher *rabbitmq.Publisher) {
	closing, cancel := farewell(ctx)
	defer cancel()
	if err := publisher.Close(closing); err != nil {
		c.log.Debug("the connection to RabbitMQ did not close in order", zap.Error(err))
	}
}

// settle closes the work and, where it was deleted, takes back what the run committed. It returns what failed.
func (c *connector) settle(ctx, runCtx context.Context, report pipeline.Report, books *emit.Books, a emit.Account, checkpoint *state.RunCheckpoint) error {
	failure := report.Failure()
	closing, cancel := farewell(ctx)
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

// workMessage is what OpenCTI shows of a run that has ended.
func workMessage(report pipeline.Report, a emit.Account, failure error) string {
	text := fmt.Sprintf("%d objects sent", a.Confirmed)
	rejected := 0
	for _, d := range report.Datasets {
		rejected += d.Rejected
	}
	if left := int64(rejected) + a.Refused; left > 0 {
		text += fmt.Sprintf(", %d left out (see the connector's log)", left)
	}
	if failure != nil {
		const longest = 2000 // the platform keeps every message; a thousand failed items would say no more
		reason := failure.Error()
		if len(reason) > longest {
			reason = strings.ToValidUTF8(reason[:longest], "") + "…"
		}
		text += "; failed: " + reason
	}
	return text
}

// logRun tells what became of a run.
func (c *connector) logRun(report pipeline.Report, a emit.Account, took time.Duration, failure error) {
	fields := []zap.Field{
		zap.Int64("sent", a.Confirmed), zap.Int64("known", a.Known), zap.Int64("repeated", a.Repeated),
		zap.Int64("cleaned", a.Cleaned), zap.Int64("held_back", a.Held), zap.Int64("cycles_cut", a.Cut),
		zap.Int64("too_large", a.Refused), zap.Int64("fallen_out", a.Evicted),
		zap.Uint64("repaired_since_start", c.transformer.Repaired()), zap.Int64("irregular_answers_since_start", c.api.Irregular()),
		zap.Duration("took", took), zap.Bool("complete", failure == nil),
	}
	for name, d := range report.Datasets {
		fields = append(fields, zap.Int(name, d.Items))
		if d.Rejected > 0 {
			fields = append(fields, zap.Int(name+"_left_out", d.Rejected))
		}
	}
	c.log.Info("the run has ended", fields...)
}
