package connector

import (
	"context"
	"fmt"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
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
	conn, err := brokerConnection(p.cfg, registered.Queue)
	return conn, registered.Queue.Exchange, registered.Queue.RoutingKey, err
}
