package connector

import (
	"context"
	"fmt"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
)

// register makes the platform declare the connector's exchange and queue, and learns where they are.
func (c *connector) register(ctx context.Context) (opencti.Registered, error) {
	registered, err := c.platform.Register(ctx, opencti.Registration{Name: c.cfg.Connector.Name, Scope: c.cfg.Connector.Scope})
	if err != nil {
		return opencti.Registered{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.registered = registered
	return registered, nil
}

// refreshBroker registers again, so that a queue that has gone is declared, and learns where it is.
func (c *connector) refreshBroker(ctx context.Context) (rabbitmq.Connection, string, string, error) {
	registered, err := c.register(ctx)
	if err != nil {
		return rabbitmq.Connection{}, "", "", fmt.Errorf("register with OpenCTI again: %w", err)
	}
	if err := c.keeper.Registered(ctx, registered); err != nil {
		return rabbitmq.Connection{}, "", "", fmt.Errorf("register with OpenCTI again: %w", err)
	}
	conn, err := brokerConnection(c.cfg, registered.Queue)
	return conn, registered.Queue.Exchange, registered.Queue.RoutingKey, err
}
