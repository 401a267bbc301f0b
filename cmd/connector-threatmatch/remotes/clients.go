// Package remotes makes the clients of ThreatMatch, OpenCTI, RabbitMQ and S3 that the configuration asks for.
package remotes

import (
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// ToThreatMatch carries requests to ThreatMatch.
func ToThreatMatch(cfg config.Config, keys *Keyring) *http.Transport {
	return remote.NewTransport(WayToThreatMatch(cfg, keys))
}

// ThreatMatch returns a client of ThreatMatch's API; version is the program's. alarms is told when that does not answer, nil
// standing for log.
func ThreatMatch(cfg config.Config, carrier http.RoundTripper, version string, log, alarms *zap.Logger) (*threatmatch.Client, error) {
	return threatmatch.New(threatmatch.Config{
		URL: cfg.ThreatMatch.URL, ClientID: cfg.ThreatMatch.ClientID, ClientSecret: cfg.ThreatMatch.ClientSecret.Reveal(),
		RatePerSecond: cfg.ThreatMatch.RateLimit, Patience: patience(cfg.Connector), Transport: carrier, MaxBody: cfg.Connector.LargestAnswer(),
		UserAgent: "connector-threatmatch/" + version, Log: log, Alarms: alarms,
	})
}

// ThreatMatchAtOnce returns a client like [ThreatMatch]'s that tells how a call went the first time, for who looks what is wrong.
func ThreatMatchAtOnce(cfg config.Config, carrier http.RoundTripper, version string) (*threatmatch.Client, error) {
	return threatmatch.New(threatmatch.Config{
		URL: cfg.ThreatMatch.URL, ClientID: cfg.ThreatMatch.ClientID, ClientSecret: cfg.ThreatMatch.ClientSecret.Reveal(),
		RatePerSecond: cfg.ThreatMatch.RateLimit, Attempts: 1, Patience: time.Nanosecond, Transport: carrier,
		UserAgent: "connector-threatmatch/" + version,
	})
}

// patience is how long a run waits for a ThreatMatch that is away: whoever runs the connector once waits for its exit status.
func patience(cfg config.Connector) time.Duration {
	if cfg.RunOnce() {
		return 0 // the client's default
	}
	return cfg.Period.Longest()
}

// ToOpenCTI carries requests to OpenCTI.
func ToOpenCTI(cfg config.Config, keys *Keyring) *http.Transport {
	return remote.NewTransport(WayToOpenCTI(cfg, keys))
}

// OpenCTI returns a client of OpenCTI's API. The log is told when that does not answer; nil for none.
func OpenCTI(cfg config.Config, carrier http.RoundTripper, log *zap.Logger) (*opencti.Client, error) {
	return opencti.New(opencti.Config{
		URL: cfg.OpenCTI.URL, Token: cfg.OpenCTI.Token.Reveal(), Headers: http.Header(cfg.OpenCTI.Headers),
		HTTP: &http.Client{Transport: carrier}, ConnectorID: cfg.Connector.ID, Log: log,
	})
}
