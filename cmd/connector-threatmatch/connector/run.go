package connector

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state"
)

// purpose is what a run is for.
type purpose int

const (
	nothing   purpose = iota // there is no run
	imports                  // what changed since the last run
	mends                    // what OpenCTI could not import is sent again, which the others do too
	backfills                // an older window
)

// String names it as the snapshot does.
func (w purpose) String() string {
	return [...]string{nothing: "", imports: snapshot.Import, mends: snapshot.Resend, backfills: snapshot.Backfill}[w]
}

// importOnce does one run. One of the backfill ends at a moment, to make way. It returns nil when all of it was delivered.
func (p *program) importOnce(ctx context.Context, why purpose, until time.Time) (failure error) {
	runCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p.setEndRun(cancel)
	defer p.repeats.Tell(p.log)
	defer func() {
		p.setEndRun(nil)
		p.status.Tell(func(i *opencti.Info) { i.Buffering = false })
	}()
	registered := p.currentRegistration()

	started := time.Now()
	var told *story
	defer func() {
		if told == nil {
			p.remember(notBegun(why, started, p.outcome(ctx, failure, false), failure, p.status.Shown))
		}
	}()
	p.status.Tell(func(i *opencti.Info) { i.LastRun, i.NextRun, i.Buffering = started, time.Time{}, false })
	fitter, err := p.newFitter(runCtx)
	if err != nil {
		p.status.RunFailed()
		return fmt.Errorf("set up the mapping: %w", err)
	}
	_ = p.loseWaiting() // what is lost between two runs is no fault of this one
	number := rand.Uint32()
	checkpoint := p.keeper.Begin(ctx, number)
	books := p.newBooks(started, checkpoint)
	kept, err := p.newDeposits(runCtx, registered.UserID, books)
	if err != nil {
		p.status.RunFailed()
		return err
	}
	defer kept.close()
	out := p.newOutlet(registered, books)
	emitter := p.newEmitter(why, out, kept, books, registered.UserID, number, fitter)
	var report pipeline.Report
	p.status.RunStarted(emitter, out, sharesOf(p.cfg).underWay)
	defer func() { p.status.RunEnded(report, failure) }()
	if err := emitter.Recover(runCtx); err != nil {
		p.endDelivery(ctx, out, kept, emitter)
		return fmt.Errorf("take up what waits for other objects: %w", err)
	}
	var from []pipeline.Source
	switch why {
	case imports:
		from = sources(p.cfg, p.api, p.log)
	case backfills:
		from = p.backfill.sources()
		defer time.AfterFunc(time.Until(until), func() { cancel(errMakesWay) }).Stop()
	}
	p.api.BeginRun()
	p.tellBegin(from, checkpoint)
	told = p.newStory(why, from, checkpoint, emitter, out, kept)
	p.status.Tells(told.snapshot)
	defer p.imported.Run()()
	sampling, stopSampling := context.WithCancel(ctx)
	sampled := make(chan struct{})
	go func() { defer close(sampled); p.status.Sample(sampling) }()
	defer func() { stopSampling(); <-sampled }()
	p.progress.Begin(told.waitsForNow)
	defer p.progress.End()
	if why == backfills {
		if !p.backfill.begins(told) {
			cancel(errMakesWay)
		}
		defer func() { p.backfill.ends(report, emitter.Account()) }()
	}
	quit, quitted := make(chan struct{}), make(chan struct{})
	go func() { defer close(quitted); told.whileUnderWay(quit) }()
	report = pipeline.Run(runCtx, pipeline.Config{Payload: sharesOf(p.cfg).underWay, Observer: observers{p.progress, told}, Meter: p.status.Meter(), Log: p.log}, from, p.transformer, emitter, watchedCheckpoint{checkpoint, books, cancel})
	close(quit)
	<-quitted
	p.endDelivery(ctx, out, kept, emitter)
	madeWay := errors.Is(report.Err, errMakesWay)
	report = withoutWay(report)
	report.Err = errors.Join(report.Err, p.loseWaiting())
	failure = p.closeWork(ctx, runCtx, report, books, emitter.Account(), checkpoint)
	outcome := p.outcome(ctx, failure, madeWay)
	p.logRun(report, emitter.Account(), time.Since(started), outcome)
	p.remember(told.ended(report, outcome, failure, p.status.Shown))
	return failure
}

func (p *program) endDelivery(ctx context.Context, out outlet, kept *deposits, emitter *emit.Emitter) {
	closing, cancel := closingContext(ctx)
	defer cancel()
	if emitter.Account().Messages == 0 && ctx.Err() == nil {
		p.tellUnreached(ctx, out)
		kept.tend(ctx)
	}
	if err := out.Close(closing); err != nil {
		p.log.Debug("the way to the queue did not close in order", zap.Error(err))
	}
	emitter.Close()
}

// tellUnreached says so when the broker could not be reached for a run that had nothing to send: the next one may have.
func (p *program) tellUnreached(ctx context.Context, out outlet) {
	const soon = 5 * time.Second // a broker on the same network takes milliseconds
	asking, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	if err := out.Reached(asking); err != nil && ctx.Err() == nil {
		p.log.Error("RabbitMQ could not be used, though nothing had to be sent this time; check that it runs, and MQ_HOST, MQ_PORT, MQ_USER and MQ_PASS where they are set", zap.Error(err))
	}
}

// tellBegin tells where a run begins.
func (p *program) tellBegin(from []pipeline.Source, checkpoint *state.RunCheckpoint) {
	var where []string
	for _, source := range from {
		where = append(where, beginning(source.Dataset(), checkpoint.Cursor(source.Dataset())))
	}
	if len(where) == 0 {
		where = append(where, "what OpenCTI could not import is sent again")
	}
	p.plain.Info("the run begins: " + strings.Join(where, "; "))
}

// beginning tells where a dataset begins or goes on.
func beginning(dataset string, c pipeline.Cursor) string {
	text := dataset + " since " + c.Since.UTC().Format(time.RFC3339)
	if c.Pass != nil && c.Pass.After != "" {
		text += ", goes on after " + c.Pass.After
	}
	if n := len(c.Failed); n > 0 {
		text += fmt.Sprintf(", with %s that failed before", words.Counted(int64(n), "item"))
	}
	return text
}

// logRun tells what became of a run.
func (p *program) logRun(report pipeline.Report, a emit.Account, took time.Duration, outcome string) {
	left := leftOut(report, a)
	if left.Total() > 0 {
		p.log.Warn("left out: "+left.String(), left.Fields()...)
	}
	said := fmt.Sprintf("the run has ended, %s: %s sent, %s copies delivered by earlier runs, %s left out, in %s",
		outcome, words.Counted(a.Confirmed, "object"), words.Grouped(a.Known), words.Grouped(left.Total()), words.Duration(took))
	fields := []zap.Field{
		zap.Bool("complete", outcome == complete), zap.Duration("took", took),
		zap.Int64("sent", a.Confirmed), zap.Int64("copies_delivered_by_earlier_runs", a.Known), zap.Int64("copies_repeated_in_this_run", a.Repeated),
		zap.Int64("sent_without_references", a.Cleaned), zap.Int64("held_back", a.Held), zap.Int64("cycles_cut", a.Cut),
		zap.Int64("too_large", a.Refused), zap.Int64("no_room_to_wait", a.Evicted),
		zap.Int64("relations_refitted", a.Refitted), zap.Int64("lost_by_opencti", a.Lost),
		zap.Uint64("repaired_since_start", p.transformer.Repaired()), zap.Int64("irregular_answers_since_start", p.api.Irregular()),
	}
	for _, name := range slices.Sorted(maps.Keys(report.Datasets)) {
		d := report.Datasets[name]
		fields = append(fields, zap.Int(name, d.Items))
		if d.Rejected > 0 {
			fields = append(fields, zap.Int(name+"_left_out", d.Rejected))
		}
	}
	p.plain.Info(said, fields...)
}

// The outcomes of a run that did all that it was for, and of one that did not.
const (
	complete   = "complete"
	incomplete = "incomplete"
)

// outcome says in words how a run ended.
func (p *program) outcome(ctx context.Context, failure error, madeWay bool) string {
	switch {
	case failure != nil && ctx.Err() != nil:
		return "told to stop"
	case failure != nil:
		return incomplete
	case madeWay:
		return p.backfill.madeWay(ctx)
	}
	return complete
}

// observers tells several.
type observers []pipeline.Observer

// Page passes on.
func (o observers) Page(dataset string, items int, at pipeline.Position) {
	for _, each := range o {
		each.Page(dataset, items, at)
	}
}

// Done passes on.
func (o observers) Done(dataset string, err error) {
	for _, each := range o {
		each.Done(dataset, err)
	}
}
