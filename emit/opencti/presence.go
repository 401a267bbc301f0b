package opencti

import (
	"context"
	"fmt"
	"time"
)

// Presence is what the platform tells of a connector besides its state.
type Presence struct {
	Name string
	// Active says that the platform takes the connector for one that runs: it has heard of it within five minutes, and
	// nobody has told it to stop.
	Active bool
	// LastSeen is when it last heard of it, by a registration or a ping. An older release tells when something of the connector
	// was last written, which each ping does, and a reset too; zero when the platform does not say.
	LastSeen time.Time
	// ResetPending says that no ping has been told of a reset yet: the next one will be, and its state not be stored.
	ResetPending bool
}

// Presence asks whether the connector runs, as far as the platform knows, and changes nothing. It fails with ErrConnectorGone
// when the platform does not know the connector.
func (c *Client) Presence(ctx context.Context) (Presence, error) {
	var (
		found *presence
		seen  *stamp
	)
	err := c.adapting(func() error {
		if c.lacking(lastSeen) {
			answer, err := connectorPresenceUnseen(ctx, c, c.connectorID)
			if err != nil {
				return err
			}
			if found = answer.Connector; found != nil {
				seen = found.Updated_at
			}
			return nil
		}
		answer, err := connectorPresence(ctx, c, c.connectorID)
		if err != nil {
			return err
		}
		if answer.Connector != nil {
			found, seen = &answer.Connector.presence, answer.Connector.Last_seen_at
		}
		return nil
	}, lastSeen)
	switch {
	case err != nil:
		return Presence{}, err
	case found == nil:
		return Presence{}, fmt.Errorf("call OpenCTI connector: %w", ErrConnectorGone)
	}
	return Presence{
		Name: found.Name, Active: found.Active != nil && *found.Active, LastSeen: seen.time(),
		ResetPending: found.Connector_state_reset != nil && *found.Connector_state_reset,
	}, nil
}

// StoreState stores a state by a ping that says nothing else, so that what the platform shows of the connector stays as it is. The
// platform takes it for a sign of life all the same. The answer is what it then holds, which need not be what was sent; see
// [Client.Ping].
func (c *Client) StoreState(ctx context.Context, state string) (Echo, error) {
	var (
		out   Echo
		found bool
	)
	err := c.adapting(func() error {
		if c.lacking(stateTimestamp) {
			answer, err := pingConnectorBare(ctx, c, c.connectorID, &state)
			if err != nil {
				return err
			}
			if found = answer.PingConnector != nil; found {
				out = echo(answer.PingConnector.Connector_state, nil)
			}
			return nil
		}
		answer, err := storeState(ctx, c, c.connectorID, &state)
		if err != nil {
			return err
		}
		if found = answer.PingConnector != nil; found {
			out = echo(answer.PingConnector.Connector_state, answer.PingConnector.Connector_state_timestamp)
		}
		return nil
	}, stateTimestamp)
	switch {
	case err != nil:
		return Echo{}, c.orGone(ctx, err)
	case !found:
		return Echo{}, fmt.Errorf("call OpenCTI pingConnector: %w", ErrConnectorGone)
	}
	return out, nil
}

// ResetState empties the connector's state and purges its queues, as the button in the platform's pages does. It needs the right to
// manage connectors, MODULES_MODMANAGE, which the user of a connector need not have; [IsForbidden] tells. The state goes before
// the queues are purged: a call that fails may have reset the connector.
func (c *Client) ResetState(ctx context.Context) error {
	_, err := resetState(ctx, c, c.connectorID)
	if err != nil {
		return c.orGone(ctx, err)
	}
	return nil
}
