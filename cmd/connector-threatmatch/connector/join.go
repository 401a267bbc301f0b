package connector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// join makes the connector known to the platform: it waits for it, registers, and takes over the state.
func (p *program) join(ctx context.Context) error {
	// A platform that starts is soon noticed, and one that is away is not troubled.
	soon := remote.Backoff{Min: 500 * time.Millisecond, Max: 30 * time.Second}
	if err := p.patiently(ctx, "reach OpenCTI", soon, func() error {
		version, err := p.platform.Version(ctx)
		if err == nil {
			p.log.Info("reached OpenCTI", zap.String("version", version))
		}
		return err
	}); err != nil {
		return err
	}
	if err := p.patiently(ctx, "register with OpenCTI", soon, func() error {
		_, err := p.register(ctx)
		return err
	}); err != nil {
		return err
	}
	var err error
	if p.memory, err = openMemory(ctx, p.cfg, p.log); err != nil {
		return err
	}
	p.keeper = p.newKeeper()
	p.follower = p.newFollower()
	if err := p.adoptState(ctx); err != nil {
		return errors.Join(err, p.memory.Close())
	}
	p.status.Joined(p.memory.Index, p.keeper.LastRun, p.follower.Counts)
	return nil
}

// adoptState takes over the state that the platform holds.
func (p *program) adoptState(ctx context.Context) error {
	if err := p.keeper.Adopt(ctx, heldOf(p.currentRegistration())); err != nil {
		return err
	}
	if p.cfg.Connector.Reimport {
		if _, err := p.lookAtWorks(ctx); err != nil { // the last time that they are known
			return err
		}
		p.log.Info("importing everything again, as CONNECTOR_REIMPORT asks")
		p.keeper.Forget()
	}
	return nil
}

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
