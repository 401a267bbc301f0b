package connector

import (
	"context"
	"net"
	"net/http"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
)

// Carriers carry what the connector says to its three remotes, in place of the network. Nil ones stand for the network.
type Carriers struct {
	API, Platform http.RoundTripper
	Broker        func(ctx context.Context, network, address string) (net.Conn, error)
}

func newAPIClient(cfg config.Config, carrier http.RoundTripper, s *status.Status, version string, log *zap.Logger) (*threatmatch.Client, error) {
	if carrier == nil {
		tls, err := threatmatchTLS(cfg)
		if err != nil {
			return nil, err
		}
		carrier = httpTransport(cfg.Network, tls)
	}
	return threatmatch.New(threatmatch.Config{
		URL: cfg.ThreatMatch.URL, ClientID: cfg.ThreatMatch.ClientID, ClientSecret: cfg.ThreatMatch.ClientSecret.Reveal(),
		RatePerSecond: cfg.ThreatMatch.RateLimit, Transport: s.WatchTransport(carrier),
		UserAgent: "connector-threatmatch/" + version, Log: log,
	})
}

func newPlatformClient(cfg config.Config, carrier http.RoundTripper) (*opencti.Client, error) {
	if carrier == nil {
		tls, err := openctiTLS(cfg)
		if err != nil {
			return nil, err
		}
		carrier = httpTransport(cfg.Network, tls)
	}
	return opencti.New(opencti.Config{
		URL: cfg.OpenCTI.URL, Token: cfg.OpenCTI.Token.Reveal(), Headers: http.Header(cfg.OpenCTI.Headers),
		HTTP: &http.Client{Transport: carrier}, ConnectorID: cfg.Connector.ID,
	})
}
