package opencti

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// User is whose token the client has.
type User struct {
	ID, Name, Email string
	// Capabilities are what the user may do, by OpenCTI's names such as KNOWLEDGE_KNUPDATE.
	Capabilities []string
	// Rated tells whether this platform says how much its users are trusted. MaxConfidence then is the highest confidence
	// with which the user may write; without one, which nil stands for, the platform takes nothing from the user.
	Rated         bool
	MaxConfidence *int
}

// administrator is the id of the account that every platform is set up with. It may do everything, whatever its roles.
const administrator = "88ec0c6a-13ce-5e39-b486-354fe4a7084f"

// bypass is the capability that stands for all.
const bypass = "BYPASS"

// Can reports whether the user has a capability or one below it: as in OpenCTI, whoever may delete knowledge
// (KNOWLEDGE_KNUPDATE_KNDELETE) may update it (KNOWLEDGE_KNUPDATE) and read it (KNOWLEDGE).
func (u User) Can(capability string) bool {
	return u.ID == administrator || slices.Contains(u.Capabilities, bypass) ||
		slices.ContainsFunc(u.Capabilities, func(has string) bool { return strings.Contains(has, capability) })
}

// WhoAmI tells whose token the client has.
func (c *Client) WhoAmI(ctx context.Context) (User, error) {
	var out User
	err := c.adapting(func() error {
		if c.lacking(confidenceLevel) {
			answer, err := whoAmIUnrated(ctx, c)
			if err == nil {
				out = userOf(answer.Me.identified)
			}
			return err
		}
		answer, err := whoAmI(ctx, c)
		if err != nil {
			return err
		}
		out = userOf(answer.Me.identified)
		out.Rated = true
		if level := answer.Me.Effective_confidence_level; level != nil {
			out.MaxConfidence = level.Max_confidence
		}
		return nil
	}, confidenceLevel)
	return out, err
}

func userOf(i identified) User {
	u := User{ID: i.Id, Name: i.Name, Email: i.User_email}
	for _, capability := range i.Capabilities {
		u.Capabilities = append(u.Capabilities, capability.Name)
	}
	return u
}

// Broker tells where the connector's messages go and what its queue is named, as [Client.Register] finds out, but without
// registering. Of a connector that the platform does not know yet it tells where those of another go, for it is the same
// broker: the queue's name and the routing key are empty then. Where there is no other either it fails with ErrConnectorGone.
func (c *Client) Broker(ctx context.Context) (q Queue, name string, err error) {
	own, err := ownBroker(ctx, c, c.connectorID)
	if err != nil {
		return Queue{}, "", err
	}
	if conf := own.Connector; conf != nil && conf.Config != nil {
		return queueOf(conf.Config), conf.Config.Push, nil
	}
	others, err := anyBroker(ctx, c)
	if err != nil {
		return Queue{}, "", err
	}
	for _, other := range others.Connectors {
		if other != nil && other.Config != nil {
			q := queueOf(other.Config)
			q.RoutingKey = ""
			return q, "", nil
		}
	}
	return Queue{}, "", fmt.Errorf("call OpenCTI anyBroker: %w", ErrConnectorGone)
}

func queueOf(conf *servedConfigConnectorConfig) Queue {
	return Queue{
		Host: conf.Connection.Host, VHost: conf.Connection.Vhost, Port: conf.Connection.Port,
		UseSSL: conf.Connection.Use_ssl, User: conf.Connection.User, Password: conf.Connection.Pass,
		Exchange: conf.Push_exchange, RoutingKey: conf.Push_routing,
	}
}
