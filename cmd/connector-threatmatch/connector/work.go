package connector

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
	"github.com/opencti-connectors/threatmatch/state"
	"github.com/opencti-connectors/threatmatch/transform"
)

// newBooks returns the books of the work under which a run that starts now is listed by the platform.
func (p *program) newBooks(started time.Time, checkpoint *state.RunCheckpoint) *emit.Books {
	name := fmt.Sprintf("%s run @ %s", p.cfg.Connector.Name, started.UTC().Format("2006-01-02T15:04:05-07:00"))
	books := emit.NewBooks(p.status.WatchPlatform(p.platform), name, p.log)
	books.RememberIn(checkpoint)
	return books
}

// watchedCheckpoint commits only what was delivered on a work that the platform has.
type watchedCheckpoint struct {
	*state.RunCheckpoint
	books *emit.Books
	end   context.CancelCauseFunc // ends the run
}

// Commit commits once the platform has said that the work lives, and ends the run when it does not.
func (c watchedCheckpoint) Commit(ctx context.Context, cursors map[string]pipeline.Cursor) error {
	if err := c.books.Check(ctx); err != nil {
		if errors.Is(err, emit.ErrWorkGone) {
			c.end(err)
		}
		return err
	}
	return c.RunCheckpoint.Commit(ctx, cursors)
}

// closeWork closes the work and, where it was deleted, takes back what the run committed. It returns what failed.
func (p *program) closeWork(ctx, runCtx context.Context, report pipeline.Report, books *emit.Books, a emit.Account, checkpoint *state.RunCheckpoint) error {
	failure := report.Failure()
	closing, cancel := closingContext(ctx)
	defer cancel()
	cause := context.Cause(runCtx)
	void := errors.Is(cause, state.ErrReset) || errors.Is(cause, state.ErrRestored)
	if !errors.Is(failure, emit.ErrWorkGone) {
		err := p.closeBooks(closing, books, workMessage(report, a, failure), failure != nil)
		if err != nil && (!void || errors.Is(err, emit.ErrWorkGone)) {
			failure = errors.Join(failure, err)
		}
	}
	if errors.Is(failure, emit.ErrWorkGone) {
		failure = errors.Join(failure, checkpoint.Revoke(closing))
	}
	return failure
}

// closeBooks closes the work and looks for it once more, for the platform closes a deleted one without a word.
func (p *program) closeBooks(ctx context.Context, books *emit.Books, message string, inError bool) error {
	if books.Work() == "" {
		return nil
	}
	if err := books.Close(ctx, message, inError); err != nil {
		return err
	}
	err := books.Check(ctx)
	if errors.Is(err, emit.ErrWorkGone) {
		return err
	}
	if err = errors.Join(err, p.keeper.Closed(ctx, books.Work())); err != nil {
		// The state says that there is a work to look at, which the next run does first.
		p.log.Debug("the end of the work was not noted", zap.Error(err))
	}
	return nil
}

// stopGrace is how long the end of a run may take for one thing, when the program was told to stop.
const stopGrace = time.Second

// closingContext returns a context for what ends a run: it outlives ctx, for a moment or, where nobody waits, for longer.
func closingContext(ctx context.Context) (context.Context, context.CancelFunc) {
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(stopGrace, cancel) })
	return closing, func() { stop(); cancel() }
}

// workMessage is what OpenCTI shows of a run that has ended.
func workMessage(report pipeline.Report, a emit.Account, failure error) string {
	text := words.Counted(a.Confirmed, "object") + " sent"
	if left := leftOut(report, a); left.Total() > 0 {
		text += fmt.Sprintf(", %d left out: %s", left.Total(), left)
	}
	if failure != nil {
		const longest = 2000 // the platform keeps every message; a thousand failed items would say no more
		reason := remote.Once(failure)
		if len(reason) > longest {
			reason = strings.ToValidUTF8(reason[:longest], "") + "…"
		}
		text += "; failed: " + reason
	}
	return text
}

// leftOut counts what a run did not send for reasons of the objects themselves.
func leftOut(report pipeline.Report, a emit.Account) pipeline.Tally {
	return report.LeftOut.With(emit.TooLarge, a.Refused).With(emit.LeadsToFiltered, a.Filtered).With(transform.AboveMaxTLP, a.Barred).With(pipeline.Fault, a.Broken)
}
