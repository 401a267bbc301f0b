package opencti

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// Version returns the platform's version. It needs a valid token, and is the cheapest way to find out whether the
// platform is there.
func (c *Client) Version(ctx context.Context) (string, error) {
	answer, err := about(ctx, c)
	if err != nil {
		return "", err
	}
	if answer.About == nil {
		return "", &Error{Operation: "about", Message: "the answer holds no version"}
	}
	return answer.About.Version, nil
}

// Registration is how the connector presents itself.
type Registration struct {
	Name  string
	Scope []string
}

// Registered is what the platform holds about the connector, and where its messages go.
type Registered struct {
	// State is the connector's state, empty when the platform has none.
	State string
	// StateTimestamp is when the connector was created or last reset, zero when the platform does not say.
	StateTimestamp time.Time
	// UserID is the applicant of every message.
	UserID string
	Queue  Queue
}

// Queue is where the connector publishes. It is zero for a platform that does not tell.
type Queue struct {
	Host     string
	VHost    string
	Port     int
	UseSSL   bool
	User     string
	Password string
	// Exchange and RoutingKey address every message.
	Exchange   string
	RoutingKey string
}

// String leaves the password out.
func (q Queue) String() string {
	scheme := "amqp"
	if q.UseSSL {
		scheme = "amqps"
	}
	return fmt.Sprintf("%s://%s@%s:%d/%s to %s/%s", scheme, q.User, q.Host, q.Port, q.VHost, q.Exchange, q.RoutingKey)
}

// GoString leaves the password out.
func (q Queue) GoString() string { return q.String() }

// Register announces the connector. The platform declares its exchanges and queues each time, so registering again also
// brings back a queue that was deleted. It is not repeated here, but may be: it changes nothing that it finds.
func (c *Client) Register(ctx context.Context, r Registration) (Registered, error) {
	c.forget()
	var out Registered
	err := c.adapting(func() (err error) {
		out, err = c.register(ctx, r)
		return err
	}, stateTimestamp, listenCallback, playbookCompatible, onlyContextual)
	return out, err
}

func (c *Client) register(ctx context.Context, r Registration) (Registered, error) {
	input := map[string]any{
		"id":    c.connectorID,
		"name":  r.Name,
		"type":  "EXTERNAL_IMPORT",
		"scope": r.Scope,
		"auto":  false,
	}
	for member, value := range map[string]any{onlyContextual: false, playbookCompatible: false, listenCallback: nil} {
		if !c.lacking(member) {
			input[member] = value
		}
	}
	var (
		got *assigned
		out Registered
	)
	if c.lacking(stateTimestamp) {
		answer, err := registerConnectorUntimed(ctx, c, &input)
		if err != nil {
			return Registered{}, err
		}
		if a := answer.RegisterConnector; a != nil {
			got, out.State = &a.assigned, str(a.Connector_state)
		}
	} else {
		answer, err := registerConnector(ctx, c, &input)
		if err != nil {
			return Registered{}, err
		}
		if a := answer.RegisterConnector; a != nil {
			got, out.State, out.StateTimestamp = &a.assigned, str(a.Connector_state), a.Connector_state_timestamp.time()
		}
	}
	if got == nil {
		return Registered{}, &Error{Operation: "registerConnector", Message: "the answer holds no connector"}
	}
	out.UserID = str(got.Connector_user_id)
	if conf := got.Config; conf != nil {
		out.Queue = Queue{
			Host: conf.Connection.Host, VHost: conf.Connection.Vhost, Port: conf.Connection.Port,
			UseSSL: conf.Connection.Use_ssl, User: conf.Connection.User, Password: conf.Connection.Pass,
			Exchange: conf.Push_exchange, RoutingKey: conf.Push_routing,
		}
	}
	return out, nil
}

// Echo is the state that the platform holds, or says that it holds.
type Echo struct {
	// State is empty when the platform has none, or after a reset.
	State string
	// StateTimestamp is when the connector was created or last reset, zero when the platform does not say: an older one
	// does not know it, and one that was upgraded may not have it for this connector.
	StateTimestamp time.Time
}

func echo(state *string, at *stamp) Echo {
	return Echo{State: str(state), StateTimestamp: at.time()}
}

// Ping says that the connector lives and what its state is; "null" is the text for none. The answer is what the
// platform then holds, which need not be what was sent. It fails with ErrConnectorGone when the platform does not know
// the connector.
func (c *Client) Ping(ctx context.Context, state string, info Info) (Echo, error) {
	var (
		out   Echo
		found bool
	)
	err := c.adapting(func() (err error) {
		out, found, err = c.ping(ctx, state, info)
		return err
	}, stateTimestamp, connectorInfo, connectorInfoInput)
	switch {
	case err == nil && found:
		return out, nil
	case err == nil:
		return Echo{}, fmt.Errorf("call OpenCTI pingConnector: %w", ErrConnectorGone)
	}
	return Echo{}, c.orGone(ctx, err)
}

func (c *Client) ping(ctx context.Context, state string, info Info) (e Echo, found bool, err error) {
	var untimed *heldUntimed
	switch {
	case c.lacking(connectorInfo) || c.lacking(connectorInfoInput):
		answer, err := pingConnectorBare(ctx, c, c.connectorID, &state)
		if err != nil {
			return Echo{}, false, err
		}
		untimed = answer.PingConnector
	case c.lacking(stateTimestamp):
		answer, err := pingConnectorUntimed(ctx, c, c.connectorID, &state, &info)
		if err != nil {
			return Echo{}, false, err
		}
		untimed = answer.PingConnector
	default:
		answer, err := pingConnector(ctx, c, c.connectorID, &state, &info)
		if err != nil || answer.PingConnector == nil {
			return Echo{}, false, err
		}
		return echo(answer.PingConnector.Connector_state, answer.PingConnector.Connector_state_timestamp), true, nil
	}
	if untimed == nil {
		return Echo{}, false, nil
	}
	return echo(untimed.Connector_state, nil), true, nil
}

// orGone finds out whether a refused call failed because the connector is not there: platforms have no common name for
// that, but all answer the question for it with null.
func (c *Client) orGone(ctx context.Context, err error) error {
	var e *Error
	if !errors.As(err, &e) || e.Name == "" || e.Temporary || IsUnauthorized(err) {
		return err
	}
	if _, asked := c.ConnectorState(ctx); errors.Is(asked, ErrConnectorGone) {
		return fmt.Errorf("%w (%w)", ErrConnectorGone, err)
	}
	return err
}

// ConnectorState asks for the state without changing anything: unlike a ping it leaves the mark of a reset standing. It
// fails with ErrConnectorGone when the platform does not know the connector.
func (c *Client) ConnectorState(ctx context.Context) (Echo, error) {
	var (
		out   Echo
		found bool
	)
	err := c.adapting(func() error {
		if c.lacking(stateTimestamp) {
			answer, err := connectorStateUntimed(ctx, c, c.connectorID)
			if err != nil {
				return err
			}
			if found = answer.Connector != nil; found {
				out = echo(answer.Connector.Connector_state, nil)
			}
			return nil
		}
		answer, err := connectorState(ctx, c, c.connectorID)
		if err != nil {
			return err
		}
		if found = answer.Connector != nil; found {
			out = echo(answer.Connector.Connector_state, answer.Connector.Connector_state_timestamp)
		}
		return nil
	}, stateTimestamp)
	if err == nil && !found {
		err = fmt.Errorf("call OpenCTI connector: %w", ErrConnectorGone)
	}
	return out, err
}

// Watched is what a run keeps an eye on.
type Watched struct {
	// WorkAlive is false once an operator has deleted the work: workers drop its messages without a word then.
	WorkAlive bool
	// Messages and Bytes wait in the connector's queue.
	Messages, Bytes int64
}

// Watch asks in one request whether the work is still there and how much waits in the queue. With no work it asks for the
// queue alone. It fails with ErrConnectorGone when the platform does not know the connector.
func (c *Client) Watch(ctx context.Context, workID string) (Watched, error) {
	var (
		found *queued
		alive bool
	)
	if workID == "" {
		answer, err := connectorQueue(ctx, c, c.connectorID)
		if err != nil {
			return Watched{}, err
		}
		found, alive = answer.Connector, true
	} else {
		answer, err := watch(ctx, c, c.connectorID, workID)
		if err != nil {
			return Watched{}, err
		}
		found, alive = answer.Connector, answer.Work != nil
	}
	if found == nil {
		return Watched{}, fmt.Errorf("call OpenCTI connector: %w", ErrConnectorGone)
	}
	queue := found.Connector_queue_details
	return Watched{WorkAlive: alive, Messages: whole(queue.Messages_number), Bytes: whole(queue.Messages_size)}, nil
}

// whole turns a GraphQL Float that counts something into the count.
func whole(f float64) int64 {
	return int64(math.Round(max(0, min(f, 1<<62))))
}

func str(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
