package main

import (
	"context"
	"errors"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/state"
)

// keptPlatform is the platform as the state's keeper sees it.
type keptPlatform struct{ c *connector }

// Ping sends the state along with what the connector is at.
func (p keptPlatform) Ping(ctx context.Context, text string) (state.Held, error) {
	p.c.status.beating()
	echo, err := p.c.platform.Ping(ctx, text, p.c.currentInfo())
	return state.Held{State: echo.State, Stamp: echo.StateTimestamp}, callError(err)
}

// ConnectorState asks without sending.
func (p keptPlatform) ConnectorState(ctx context.Context) (state.Held, error) {
	echo, err := p.c.platform.ConnectorState(ctx)
	return state.Held{State: echo.State, Stamp: echo.StateTimestamp}, callError(err)
}

// Register registers the connector again.
func (p keptPlatform) Register(ctx context.Context) (state.Held, error) {
	registered, err := p.c.register(ctx)
	return heldOf(registered), callError(err)
}

func heldOf(r opencti.Registered) state.Held {
	return state.Held{State: r.State, Stamp: r.StateTimestamp}
}

func callError(err error) error {
	if err == nil {
		return nil
	}
	return &state.CallError{
		Err: err, Gone: errors.Is(err, opencti.ErrConnectorGone), Temporary: opencti.IsTemporary(err), Unsent: opencti.IsUnsent(err),
	}
}
