package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/state"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// join makes the connector known to the platform: it waits for it, registers, and takes over the state.
func (c *connector) join(ctx context.Context) error {
	if err := c.patiently(ctx, "reach OpenCTI", func() error {
		version, err := c.platform.Version(ctx)
		if err == nil {
			c.log.Info("reached OpenCTI", zap.String("version", version))
		}
		return err
	}); err != nil {
		return err
	}
	if err := c.patiently(ctx, "register with OpenCTI", func() error {
		_, err := c.register(ctx)
		return err
	}); err != nil {
		return err
	}
	if err := c.openIndex(ctx); err != nil {
		return err
	}
	c.keeper = state.NewKeeper(state.Config{
		Platform: keptPlatform{c}, Index: c.index, WaitingLost: c.waitingLost, Enabled: c.cfg.datasets(),
		ImportFrom: func() time.Time { return c.cfg.ThreatMatch.ImportFrom.From(time.Now()) },
		OnPing:     c.status.pinged, Every: heartbeatEvery, OnReset: c.onReset, Log: c.log,
	})
	if err := c.adopt(); err != nil {
		return errors.Join(err, c.index.Close())
	}
	c.status.joined(c.index, c.keeper.LastRun)
	return nil
}

func (c *connector) adopt() error {
	c.mu.Lock()
	registered := c.registered
	c.mu.Unlock()
	if err := c.keeper.Adopt(heldOf(registered)); err != nil {
		return err
	}
	if c.cfg.Connector.Reimport {
		c.log.Info("importing everything again, as CONNECTOR_REIMPORT asks")
		c.keeper.Forget()
	}
	return nil
}

// patiently repeats what the platform does not answer yet. A refusal ends it in run-and-terminate mode; a connector that
// stays goes on, for a crash loop would help nobody.
func (c *connector) patiently(ctx context.Context, what string, do func() error) error {
	const (
		first, longest = 500 * time.Millisecond, 30 * time.Second
		// A platform that starts answers anything for a while; one that refuses for longer wants an operator.
		refusals = 8
		// What lasts longer than this is news also to those who log errors only.
		alarming = 2 * time.Minute
	)
	started, alarmed := time.Now(), false
	for pause, attempt := first, 1; ; pause, attempt = min(2*pause, longest), attempt+1 {
		c.status.called()
		err := do()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		case c.cfg.Connector.RunOnce() && (opencti.IsUnauthorized(err) || (!opencti.IsTemporary(err) && attempt >= refusals)):
			return fmt.Errorf("%s: %w", what, err)
		case opencti.IsUnauthorized(err), !alarmed && time.Since(started) > alarming:
			alarmed = true
			c.log.Error("cannot "+what+"; check OPENCTI_URL and OPENCTI_TOKEN, trying again", zap.Error(err))
		default:
			c.log.Warn("cannot "+what+" yet, trying again", zap.Error(err))
		}
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		}
	}
}

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

// openIndex opens the index of delivered objects.
func (c *connector) openIndex(ctx context.Context) error {
	x, opening, err := index.Open(ctx, c.cfg.Connector.StateDir, c.cfg.identity(), index.Options{})
	if err != nil {
		return fmt.Errorf("open the index of delivered objects in %s: %w", c.cfg.Connector.StateDir, err)
	}
	switch {
	case opening.Temporary:
		c.log.Warn("CONNECTOR_STATE_DIR cannot be used; what was delivered is remembered until the connector stops, later runs send some objects again",
			zap.String("reason", opening.Reason))
	case opening.Fresh && opening.Reason != index.NeverBefore:
		c.log.Warn("the index of delivered objects starts anew; some objects are sent again", zap.String("reason", opening.Reason))
	case opening.Fresh:
		c.log.Info("the index of delivered objects starts anew", zap.String("reason", opening.Reason))
	}
	if opening.WaitingLost != "" {
		c.log.Warn("some objects that waited for others were lost with their file", zap.String("reason", opening.WaitingLost))
	}
	c.index, c.durable, c.waitingLost = x, !opening.Temporary, opening.WaitingLost != ""
	return nil
}

// brokerConnection is where the platform says its queue is, with what the configuration says instead.
func (c *connector) brokerConnection(q opencti.Queue) (rabbitmq.Connection, error) {
	mq := c.cfg.MQ
	conn := rabbitmq.Connection{Host: q.Host, Port: q.Port, VHost: q.VHost, User: q.User, Password: q.Password, UseSSL: q.UseSSL}
	if mq.Host != "" {
		conn.Host = mq.Host
	}
	if mq.Port != 0 {
		conn.Port = mq.Port
	}
	if mq.VHost != "" {
		conn.VHost = mq.VHost
	}
	if mq.User != "" {
		conn.User = mq.User
	}
	if mq.Pass != "" {
		conn.Password = mq.Pass.Reveal()
	}
	if mq.UseSSL != nil {
		conn.UseSSL = *mq.UseSSL
	}
	if !conn.UseSSL {
		return conn, nil
	}
	tls, err := c.cfg.brokerTLS()
	if err != nil {
		return rabbitmq.Connection{}, fmt.Errorf("set up TLS for RabbitMQ: %w", err)
	}
	tls.ServerName = conn.Host
	conn.TLS = tls
	return conn, nil
}

// refreshBroker registers again, so that a queue that has gone is declared, and learns where it is.
func (c *connector) refreshBroker(ctx context.Context) (rabbitmq.Connection, string, string, error) {
	registered, err := c.register(ctx)
	if err != nil {
		return rabbitmq.Connection{}, "", "", fmt.Errorf("register with OpenCTI again: %w", err)
	}
	if err := c.keeper.Registered(ctx, heldOf(registered)); err != nil {
		return rabbitmq.Connection{}, "", "", fmt.Errorf("register with OpenCTI again: %w", err)
	}
	conn, err := c.brokerConnection(registered.Queue)
	return conn, registered.Queue.Exchange, registered.Queue.RoutingKey, err
}

// Time-outs of the connections that carry HTTP. What an answer as a whole may take is for the clients to say.
const (
	dialTimeout         = 10 * time.Second
	tlsHandshakeTimeout = 10 * time.Second
	answerTimeout       = time.Minute
	idleConnTimeout     = 90 * time.Second
	idleConnections     = 32 // above any sensible THREATMATCH_CONCURRENCY, so that connections are used again
)

func (cfg Config) httpTransport(tls *tls.Config) *http.Transport {
	proxy := cfg.Network.proxy()
	return &http.Transport{
		Proxy:                 func(r *http.Request) (*url.URL, error) { return proxy(r.URL) },
		DialContext:           (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       tls,
		TLSHandshakeTimeout:   tlsHandshakeTimeout,
		ResponseHeaderTimeout: answerTimeout,
		IdleConnTimeout:       idleConnTimeout,
		MaxIdleConns:          idleConnections,
		MaxIdleConnsPerHost:   idleConnections,
		ForceAttemptHTTP2:     true,
	}
}

// carriers carry what the connector says to its three remotes.
type carriers struct {
	api, platform http.RoundTripper
	broker        func(ctx context.Context, network, address string) (net.Conn, error)
}

func newAPIClient(cfg Config, carrier http.RoundTripper, s *status, log *zap.Logger) (*threatmatch.Client, error) {
	if carrier == nil {
		tls, err := cfg.threatmatchTLS()
		if err != nil {
			return nil, err
		}
		carrier = cfg.httpTransport(tls)
	}
	return threatmatch.New(threatmatch.Config{
		URL: cfg.ThreatMatch.URL, ClientID: cfg.ThreatMatch.ClientID, ClientSecret: cfg.ThreatMatch.ClientSecret.Reveal(),
		RatePerSecond: cfg.ThreatMatch.RateLimit, Transport: watchedTransport{carrier, s},
		UserAgent: "connector-threatmatch/" + versionText(), Log: log,
	})
}

func newPlatformClient(cfg Config, carrier http.RoundTripper) (*opencti.Client, error) {
	if carrier == nil {
		tls, err := cfg.openctiTLS()
		if err != nil {
			return nil, err
		}
		carrier = cfg.httpTransport(tls)
	}
	return opencti.New(opencti.Config{
		URL: cfg.OpenCTI.URL, Token: cfg.OpenCTI.Token.Reveal(), Headers: http.Header(cfg.OpenCTI.Headers),
		HTTP: &http.Client{Transport: carrier}, ConnectorID: cfg.Connector.ID,
	})
}
