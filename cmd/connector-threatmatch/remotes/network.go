package remotes

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"

	"golang.org/x/net/http/httpproxy"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// httpTransport carries HTTP as the configuration of the network wants it.
func httpTransport(cfg config.Network, tls *tls.Config) *http.Transport {
	proxy := proxyOf(cfg)
	return remote.NewTransport(func(r *http.Request) (*url.URL, error) { return proxy(r.URL) }, tls)
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
