package connector

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// patiently repeats at a pace what the platform does not answer yet. A refusal ends it in run-and-terminate mode; a connector that
// stays goes on, for a crash loop would help nobody.
func (p *program) patiently(ctx context.Context, what string, pace remote.Backoff, do func() error) error {
	const (
		// A platform that starts answers anything for a while; one that refuses for longer wants an operator.
		refusals = 8
		// What lasts longer than this is news also to those who log errors only.
		alarming = 2 * time.Minute
	)
	started, alarmed := time.Now(), false
	for failures := 0; ; failures++ {
		p.status.Called()
		err := do()
		p.status.TokenTried(err)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		case p.cfg.Connector.RunOnce() && (opencti.IsUnauthorized(err) || (!opencti.IsTemporary(err) && failures+1 >= refusals)):
			return fmt.Errorf("%s: %w", what, err)
		case opencti.IsUnauthorized(err), !alarmed && time.Since(started) > alarming:
			alarmed = true
			p.log.Error("cannot "+what+"; check OPENCTI_URL and OPENCTI_TOKEN, trying again", zap.Error(err))
		default:
			p.log.Warn("cannot "+what+" yet, trying again", zap.Error(err))
		}
		if err := remote.Wait(ctx, pace.Delay(failures)); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
}
