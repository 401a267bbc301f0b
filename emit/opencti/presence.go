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
	answer, err := connectorPresence(ctx, c, c.connectorID)
	if err != nil {
		return Presence{}, err
	}
	found := answer.Connector
	if found == nil {
		return Presence{}, fmt.Errorf("call OpenCTI connector: %w", ErrConnectorGone)
	}
	p := Presence{
		Name: found.Name, Active: found.Active != nil && *found.Active, LastSeen: found.Last_seen_at.time(),
		ResetPending: found.Connector_state_reset != nil && *found.Connector_state_reset,
	}
	if c.lacking(lastSeen) {
		p.LastSeen = found.Updated_at.time()
	}
	if c.lacking(activeMember) {
		p.Active = time.Since(p.LastSeen) < listening
	}
	return p, nil
}

// listening is for how long a platform takes a connector that it has heard of for one that runs.
const listening = 5 * time.Minute

// StoreState stores a state by a ping that says nothing else, so that what the platform shows of the connector stays as it is. The
// platform takes it for a sign of life all the same. The answer is what it then holds, which need not be what was sent; see
// [Client.Ping].
func (c *Client) StoreState(ctx context.Context, state string) (Echo, error) {
	answer, err := storeState(ctx, c, c.connectorID, &state)
	if err != nil {
		return Echo{}, c.orGone(ctx, err)
	}
	return echo("pingConnector", answer.PingConnector)
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
