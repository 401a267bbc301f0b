package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpproxy"
)

// proxy returns the function by which an [net/http.Transport] chooses its proxy.
func (c NetworkConfig) proxy() func(*url.URL) (*url.URL, error) {
	return (&httpproxy.Config{
		HTTPProxy:  c.HTTPProxy.Reveal(),
		HTTPSProxy: c.HTTPSProxy.Reveal(),
		NoProxy:    c.NoProxy,
	}).ProxyFunc()
}

// authorities are the system's, what HTTPS_CA_CERTIFICATES adds, and more, which is PEM too.
func (c NetworkConfig) authorities(more string) (*x509.CertPool, error) {
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
func (cfg Config) threatmatchTLS() (*tls.Config, error) {
	pool, err := cfg.Network.authorities("")
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, err
}

// openctiTLS is the TLS configuration for OpenCTI. A CA file in OPENCTI_SSL_VERIFY adds to the authorities.
func (cfg Config) openctiTLS() (*tls.Config, error) {
	pool, err := cfg.Network.authorities(cfg.OpenCTI.TLS.CA)
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12, InsecureSkipVerify: !cfg.OpenCTI.TLS.Verify}, err
}

// brokerTLS is the TLS configuration for RabbitMQ, for when it is reached over TLS.
func (cfg Config) brokerTLS() (*tls.Config, error) {
	pool, err := cfg.Network.authorities(cfg.MQ.CA)
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12, InsecureSkipVerify: !cfg.MQ.RejectUnauthorized}
	if cfg.MQ.Cert != "" {
		pair, err := cfg.MQ.clientCertificate()
		if err != nil {
			return nil, err
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// passwordOf returns the password inside a proxy's address.
func passwordOf(proxy Secret) string {
	full := proxy.Reveal()
	if !strings.Contains(full, "://") {
		full = "http://" + full
	}
	u, err := url.Parse(full)
	if err != nil || u.User == nil {
		return ""
	}
	password, _ := u.User.Password()
	return password
}
