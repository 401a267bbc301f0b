package heldstate

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
	"github.com/opencti-connectors/threatmatch/state"
)

// Reset does what the reset in OpenCTI's pages does. A connector that runs is told with its next ping.
func (d *Desk) Reset(ctx context.Context) error {
	held, err := d.look(ctx)
	if err != nil {
		return err
	}
	d.say("OpenCTI forgets the state of the connector and empties its queue. The next run imports\neverything since %s again, with a new index of delivered objects.\nNothing that OpenCTI holds is deleted. `state export` keeps the state of now.", moment(d.ImportFrom))
	if s, err := state.Describe(held.State); err == nil {
		for _, p := range s.Datasets {
			d.say("%s\n  before: %s\n  after:  never imported", p.Name, whereAt(p))
		}
		for _, p := range s.Backfill {
			d.say("backfill of %s\n  before: %s\n  after:  none; order it again", p.Name, whereAt(p))
		}
	}
	if err := d.confirm("Reset the connector?"); err != nil {
		return err
	}
	failure := d.Platform.ResetState(ctx)
	switch {
	case opencti.IsForbidden(failure):
		return fmt.Errorf("nothing was changed: the user of OPENCTI_TOKEN may not reset connectors; give its role the capability to manage connector state (MODULES_MODMANAGE), or reset it in OpenCTI (Data > Ingestion > Connectors): %w", failure)
	case errors.Is(failure, opencti.ErrConnectorGone) || opencti.IsUnauthorized(failure) || opencti.IsUnsent(failure):
		return d.explain(failure)
	}
	// OpenCTI forgets the state first, so that a call which failed may have done that.
	done, err := d.seeReset(ctx, held.Held)
	switch {
	case err != nil:
		return errors.Join(failure, err)
	case failure != nil && done:
		return fmt.Errorf("the state is reset, and OpenCTI failed after that: its queue may not be empty; repeat the command: %w", failure)
	case failure != nil:
		return fmt.Errorf("reset the connector: %w", failure)
	case !done:
		return errors.New("OpenCTI does not show the reset yet; look at it with `state show`")
	}
	if held.Active {
		d.say("Reset. A connector that runs notices with its next ping, in 40 seconds at most.")
	} else {
		d.say("Reset. A connector that starts imports everything again.")
	}
	return d.report(changed{true, raw(held.State), raw("")})
}

// seeReset looks until OpenCTI shows that a reset came after what it held before. Where it tells when the last one was, that says so
// even of a connector that has stored a state since.
func (d *Desk) seeReset(ctx context.Context, before state.Held) (bool, error) {
	for attempt := range looks {
		if attempt > 0 {
			if err := remote.Wait(ctx, pause); err != nil {
				return false, fmt.Errorf("look for the reset in OpenCTI: %w", err)
			}
		}
		echo, err := d.Platform.ConnectorState(ctx)
		switch {
		case err != nil && !opencti.IsTemporary(err):
			return false, fmt.Errorf("look for the reset in OpenCTI: %w", d.explain(err))
		case err != nil:
		case !echo.StateTimestamp.IsZero():
			if echo.StateTimestamp.After(before.Stamp) {
				return true, nil
			}
		case state.SameText(echo.State, ""):
			return true, nil
		}
	}
	return false, nil
}
