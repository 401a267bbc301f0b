package connector

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// patiently repeats what the platform does not answer yet, whose client tells of that. A refusal ends it in run-and-terminate mode;
// a connector that stays goes on, for a crash loop would help nobody.
func (p *program) patiently(ctx context.Context, what string, pace remote.Backoff, do func() error) error {
	// A platform that starts answers anything for a while; one that refuses for longer wants an operator.
	const refusals = 8
	// What lasts longer than this is told of: with the pauses that is within fifteen seconds.
	const alarming = 8 * time.Second
	var cause error // of the last failure that was no end of ctx
	began, told := time.Now(), false
	for failures := 0; ; failures++ {
		p.status.Called()
		err := do()
		p.status.TokenTried(err)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			cause = err
		}
		switch {
		case p.cfg.Connector.RunOnce() && (opencti.IsUnauthorized(err) || (!opencti.IsTemporary(err) && failures+1 >= refusals)):
			return fmt.Errorf("%s: %w", what, err)
		case opencti.IsForbidden(err) && !told:
			told = true
			p.log.Error("cannot "+what+": give the user of OPENCTI_TOKEN the rights of a connector; trying again", zap.Error(err))
		case !told && !opencti.IsTemporary(err) && time.Since(began) > alarming && !p.platform.Silent():
			told = true // whose client takes what it says for an answer
			p.plain.Error("cannot "+what+"; check OPENCTI_URL, and OpenCTI's own log; trying again", zap.Error(err))
		default:
			p.log.Debug("cannot "+what+" yet, trying again", zap.Error(err))
		}
		if ended := remote.Wait(ctx, pace.Delay(failures)); ended != nil {
			if cause == nil {
				return fmt.Errorf("%s: %w", what, ended)
			}
			return fmt.Errorf("%s: %w; it was waiting because of this: %w", what, ended, cause)
		}
	}
}
