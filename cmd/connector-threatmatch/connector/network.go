package connector

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
)

// Time-outs of the connections that carry HTTP. What an answer as a whole may take is for the clients to say.
const (
	dialTimeout         = 10 * time.Second
	tlsHandshakeTimeout = 10 * time.Second
	answerTimeout       = time.Minute
	idleConnTimeout     = 90 * time.Second
	idleConnections     = 32 // above any sensible THREATMATCH_CONCURRENCY, so that connections are used again
)

func httpTransport(cfg config.Network, tls *tls.Config) *http.Transport {
	proxy := proxyOf(cfg)
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

// proxyOf returns the function by which an [net/http.Transport] chooses its proxy.
func proxyOf(c config.Network) func(*url.URL) (*url.URL, error) {
	return (&httpproxy.Config{
		HTTPProxy:  c.HTTPProxy.Reveal(),
		HTTPSProxy: c.HTTPSProxy.Reveal(),
		NoProxy:    c.NoProxy,
	}).ProxyFunc()
}

// authorities are the system's, what HTTPS_CA_CERTIFICATES adds, and more, which is PEM too.
func authorities(c config.Network, more string) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("load the system's certificate authorities: %w", err)
	}
	for _, pem := range []string{c.CA, more} {
		if pem != "" {
			pool.AppendCertsFromPEM([]byte(pem)) // found valid when the configuration was read
		}
	}
	return pool, nil
}

// threatmatchTLS is the TLS configuration for the ThreatMatch API.
func threatmatchTLS(cfg config.Config) (*tls.Config, error) {
	pool, err := authorities(cfg.Network, "")
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, err
}

// openctiTLS is the TLS configuration for OpenCTI. A CA file in OPENCTI_SSL_VERIFY adds to the authorities.
func openctiTLS(cfg config.Config) (*tls.Config, error) {
	pool, err := authorities(cfg.Network, cfg.OpenCTI.TLS.CA)
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12, InsecureSkipVerify: !cfg.OpenCTI.TLS.Verify}, err
}
