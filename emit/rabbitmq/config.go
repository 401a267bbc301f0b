package rabbitmq

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

const (
	// defaultWindow is enough to hide the broker's disk behind the network; a larger one only makes more duplicates when
	// a connection is lost.
	defaultWindow = 1000
	// defaultWindowBytes bounds memory when messages are large: a window of the largest messages would take gigabytes.
	defaultWindowBytes = 64 << 20
	// defaultConfirmTimeout outlasts the stalls of a quorum that elects a leader and of a disk that catches up.
	defaultConfirmTimeout = 60 * time.Second
	// defaultHandshakeTimeout covers dialling, TLS, login and opening the channel.
	defaultHandshakeTimeout = 30 * time.Second
	// hostTimeout is how long one host of several is waited for: shorter than an operator waits for a word of an outage, so that
	// one that is switched off is none.
	hostTimeout = 10 * time.Second
	// defaultRefreshTimeout lets a platform that is busy answer a registration with its own retries.
	defaultRefreshTimeout = 2 * time.Minute
	defaultBackoffMin     = 200 * time.Millisecond
	// defaultBackoffMax is how late a broker's return may be noticed.
	defaultBackoffMax = 30 * time.Second
	// heartbeat makes a dead peer known within two to three times as long.
	heartbeat = 10 * time.Second
	// connectionName is what the broker's management pages show.
	connectionName = "connector-threatmatch"
)

// Connection says where the broker is and who asks. Its text forms leave the password out.
type Connection struct {
	Host string
	Port int
	// Others are further nodes of the same cluster, tried in turn when Host does not serve.
	Others   []Host
	VHost    string // "" means "/"; else the plain name, not as a URL would have it
	User     string
	Password string
	UseSSL   bool
	// TLS makes the settings of one connection, for UseSSL: asked for each, so that certificates that have changed count. Where they
	// name no server it is Host. nil stands for the system's roots.
	TLS func() *tls.Config
}

func (c Connection) address() string { return net.JoinHostPort(c.Host, strconv.Itoa(c.Port)) }

func (c Connection) vhost() string {
	if c.VHost == "" {
		return "/"
	}
	return c.VHost
}

// String names the broker without the password.
func (c Connection) String() string {
	scheme := "amqp"
	if c.UseSSL {
		scheme = "amqps"
	}
	at := c.address()
	for _, other := range c.Others {
		at += "," + other.address()
	}
	return fmt.Sprintf("%s://%s@%s (vhost %q)", scheme, c.User, at, c.vhost())
}

// GoString is String, so that %#v shows no password either.
func (c Connection) GoString() string { return c.String() }

// Refresh registers the connector again, so that the platform declares its exchange and queue, and gives what to use
// from then on. A [*PermanentError] in the chain of its error ends the Publisher; after any other the Publisher goes on
// with what it has and asks again later.
type Refresh func(ctx context.Context) (conn Connection, exchange, routingKey string, err error)

// Config is what a Publisher needs. Zero values stand for the defaults.
type Config struct {
	Connection Connection
	Exchange   string
	RoutingKey string

	// Window is how many messages may be unconfirmed at a time, default 1000.
	Window int
	// WindowBytes is how many bytes of bodies are held for publishing again, default 64 MiB. One message may exceed it,
	// alone.
	WindowBytes int64
	// ConfirmTimeout is how long the oldest unconfirmed message may stay so while the broker does not block; after it the
	// connection is given up and what is unknown is published again. Default 60 s.
	ConfirmTimeout time.Duration
	// HandshakeTimeout bounds everything from dialling to the open channel, default 30 s; 10 s where there are other hosts.
	HandshakeTimeout time.Duration
	// RefreshTimeout bounds one call of Refresh, default 2 minutes.
	RefreshTimeout time.Duration

	// RefusedFor is how long the broker may refuse access, without having confirmed anything or failed in another way meanwhile,
	// before the Publisher gives up with a [*PermanentError]; 0 stands for ever. Of several hosts one that refuses is enough, as
	// long as none lets the connector in.
	RefusedFor time.Duration

	// Dial opens the socket, nil stands for a net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Refresh is asked when a message was returned, when the broker refuses the user, the vhost or the exchange, and after
	// every third failure to connect to any of its hosts. nil means not available.
	Refresh Refresh
	Log     *zap.Logger
	// Alarms is told when the broker does not answer; nil stands for Log.
	Alarms *zap.Logger
	// Backoff paces what is repeated: attempts to connect, once all hosts were tried, and publishes that were refused.
	// Default 200 ms to 30 s.
	Backoff remote.Backoff
}

func (c Config) withDefaults() Config {
	if c.Window <= 0 {
		c.Window = defaultWindow
	}
	if c.WindowBytes <= 0 {
		c.WindowBytes = defaultWindowBytes
	}
	if c.ConfirmTimeout <= 0 {
		c.ConfirmTimeout = defaultConfirmTimeout
	}
	if c.HandshakeTimeout <= 0 {
		c.HandshakeTimeout = defaultHandshakeTimeout
	}
	if c.RefreshTimeout <= 0 {
		c.RefreshTimeout = defaultRefreshTimeout
	}
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if c.Alarms == nil {
		c.Alarms = c.Log
	}
	if c.Backoff.Min <= 0 {
		c.Backoff.Min = defaultBackoffMin
	}
	if c.Backoff.Max <= 0 {
		c.Backoff.Max = defaultBackoffMax
	}
	return c
}
