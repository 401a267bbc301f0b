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
	answer, err := whoAmI(ctx, c)
	if err != nil {
		return User{}, err
	}
	me := answer.Me
	u := User{ID: me.Id, Name: me.Name, Email: me.User_email, Rated: !c.lacking(confidenceLevel, "max_confidence")}
	for _, capability := range me.Capabilities {
		u.Capabilities = append(u.Capabilities, capability.Name)
	}
	if level := me.Effective_confidence_level; level != nil && u.Rated {
		u.MaxConfidence = level.Max_confidence
	}
	return u, nil
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
		return c.queueOf(conf.Config), conf.Config.Push, nil
	}
	others, err := anyBroker(ctx, c)
	if err != nil {
		return Queue{}, "", err
	}
	for _, other := range others.Connectors {
		if other != nil && other.Config != nil {
			q := c.queueOf(other.Config)
			q.RoutingKey = ""
			return q, "", nil
		}
	}
	return Queue{}, "", fmt.Errorf("call OpenCTI anyBroker: %w", ErrConnectorGone)
}

// queueOf reads where messages go. What the platform does not tell of the connection is to be set.
func (c *Client) queueOf(conf *servedConfigConnectorConfig) Queue {
	q := Queue{Exchange: conf.Push_exchange, RoutingKey: conf.Push_routing}
	if at := conf.Connection; at != nil {
		q.Host, q.VHost, q.Port, q.UseSSL, q.User, q.Password = at.Host, at.Vhost, at.Port, at.Use_ssl, at.User, at.Pass
	}
	if c.lacking("config", "connection", virtualHost) {
		q.VHost = "/"
	}
	return q
}
