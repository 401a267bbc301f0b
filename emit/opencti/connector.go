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
// brings back a queue that was deleted. It is not repeated here, but may be: it changes nothing that it finds. The platform is
// asked before what it knows, for it may have been upgraded.
func (c *Client) Register(ctx context.Context, r Registration) (Registered, error) {
	if err := c.look(ctx); err != nil {
		return Registered{}, err
	}
	answer, err := registerConnector(ctx, c, &map[string]any{
		"id": c.connectorID, "name": r.Name, "type": "EXTERNAL_IMPORT", "scope": r.Scope,
		"auto": false, "only_contextual": false, "playbook_compatible": false, "listen_callback_uri": nil,
	})
	if err != nil {
		return Registered{}, err
	}
	got := answer.RegisterConnector
	if got == nil {
		return Registered{}, &Error{Operation: "registerConnector", Message: "the answer holds no connector"}
	}
	out := Registered{State: str(got.Connector_state), StateTimestamp: got.Connector_state_timestamp.time(), UserID: str(got.Connector_user_id)}
	if c.lacking(userID) {
		user, err := c.WhoAmI(ctx)
		if err != nil {
			return Registered{}, err
		}
		out.UserID = user.ID
	}
	if conf := got.served.Config; conf != nil {
		out.Queue = c.queueOf(conf)
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

// echo reads the answer to an operation; none is that of a platform that does not know the connector.
func echo(operation string, answer *held) (Echo, error) {
	if answer == nil {
		return Echo{}, fmt.Errorf("call OpenCTI %s: %w", operation, ErrConnectorGone)
	}
	return Echo{State: str(answer.Connector_state), StateTimestamp: answer.Connector_state_timestamp.time()}, nil
}

// Ping says that the connector lives and what its state is; "null" is the text for none. The answer is what the
// platform then holds, which need not be what was sent. It fails with ErrConnectorGone when the platform does not know
// the connector.
func (c *Client) Ping(ctx context.Context, state string, info Info) (Echo, error) {
	answer, err := pingConnector(ctx, c, c.connectorID, &state, &info)
	if err != nil {
		return Echo{}, c.orGone(ctx, err)
	}
	return echo("pingConnector", answer.PingConnector)
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
	answer, err := connectorState(ctx, c, c.connectorID)
	if err != nil {
		return Echo{}, err
	}
	return echo("connector", answer.Connector)
}

// Watched is what a run keeps an eye on.
type Watched struct {
	// WorkAlive is false once an operator has deleted the work: workers drop its messages without a word then. It stays true with
	// a platform that does not tell.
	WorkAlive bool
	// Untold says that the platform does not tell what waits in queues, as before 6.1.12.
	Untold bool
	// Messages and Bytes wait in the connector's queue.
	Messages, Bytes int64
}

// Watch asks in one request whether the work is still there and how much waits in the queue. With no work it asks for the
// queue alone. It fails with ErrConnectorGone when the platform does not know the connector.
func (c *Client) Watch(ctx context.Context, workID string) (Watched, error) {
	if workID == "" {
		answer, err := connectorQueue(ctx, c, c.connectorID)
		switch {
		case err != nil && c.lacking(connectorMember):
			return Watched{WorkAlive: true, Untold: true}, nil
		case err != nil:
			return Watched{}, err
		}
		return c.watched(answer.Connector, true)
	}
	answer, err := watch(ctx, c, c.connectorID, workID)
	if err != nil {
		return Watched{}, err
	}
	return c.watched(answer.Connector, answer.Work != nil || c.lacking(workMember))
}

func (c *Client) watched(found *queued, alive bool) (Watched, error) {
	switch untold := c.lacking(connectorMember, queueDetails, messagesNumber, messagesSize); {
	case untold && (found != nil || c.lacking(connectorMember)):
		return Watched{WorkAlive: alive, Untold: true}, nil
	case found == nil:
		return Watched{}, fmt.Errorf("call OpenCTI connector: %w", ErrConnectorGone)
	case found.Connector_queue_details == nil:
		return Watched{WorkAlive: alive, Untold: true}, nil
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
