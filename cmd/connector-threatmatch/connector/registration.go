package connector

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/remotes"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/state"
)

// register makes the platform declare the connector's exchange and queue, and learns where they are.
func (p *program) register(ctx context.Context) (opencti.Registered, error) {
	registered, err := p.platform.Register(ctx, opencti.Registration{Name: p.cfg.Connector.Name, Scope: p.cfg.Connector.Scope})
	if err != nil {
		return opencti.Registered{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.registered = registered
	return registered, nil
}

// refreshBroker registers again, so that a queue that has gone is declared, and learns where it is.
func (p *program) refreshBroker(ctx context.Context) (rabbitmq.Connection, string, string, error) {
	registered, err := p.register(ctx)
	if err != nil {
		return rabbitmq.Connection{}, "", "", fmt.Errorf("register with OpenCTI again: %w", err)
	}
	if err := p.keeper.Registered(ctx, heldOf(registered)); err != nil {
		return rabbitmq.Connection{}, "", "", fmt.Errorf("register with OpenCTI again: %w", err)
	}
	return remotes.Broker(p.cfg, p.keys, registered.Queue), registered.Queue.Exchange, registered.Queue.RoutingKey, nil
}

// stateStore is the platform as the state's keeper sees it.
type stateStore struct{ p *program }

// Ping sends the state along with what the connector is at.
func (s stateStore) Ping(ctx context.Context, text string) (state.Held, error) {
	echo, err := s.p.platform.Ping(ctx, text, s.p.status.Told())
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
		Err: err, Gone: errors.Is(err, opencti.ErrConnectorGone), Temporary: opencti.IsTemporary(err), Unsent: opencti.IsUnsent(err), Refused: opencti.IsForbidden(err),
	}
}
