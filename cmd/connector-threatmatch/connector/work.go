package connector

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state"
)

// newBooks returns the books of the work under which a run that starts now is listed by the platform.
func (p *program) newBooks(started time.Time) *emit.Books {
	name := fmt.Sprintf("%s run @ %s", p.cfg.Connector.Name, started.UTC().Format("2006-01-02T15:04:05-07:00"))
	return emit.NewBooks(p.status.WatchPlatform(p.platform), name, p.log)
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
