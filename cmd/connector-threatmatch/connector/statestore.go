package connector

import (
	"context"
	"errors"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/state"
)

// stateStore is the platform as the state's keeper sees it.
type stateStore struct{ p *program }

// Ping sends the state along with what the connector is at.
func (s stateStore) Ping(ctx context.Context, text string) (state.Held, error) {
	echo, err := s.p.platform.Ping(ctx, text, s.p.status.Pinging())
	return state.Held{State: echo.State, Stamp: echo.StateTimestamp}, callError(err)
}

// ConnectorState asks without sending.
func (s stateStore) ConnectorState(ctx context.Context) (state.Held, error) {
	echo, err := s.p.platform.ConnectorState(ctx)
	return state.Held{State: echo.State, Stamp: echo.StateTimestamp}, callError(err)
}

// Register registers the connector again.
func (s stateStore) Register(ctx context.Context) (state.Held, error) {
	registered, err := s.p.register(ctx)
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
