package remotes

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// WayToThreatMatch is how ThreatMatch is reached, its token included.
func WayToThreatMatch(cfg config.Config, keys *Keyring) remote.Way {
	return remote.Way{Proxy: proxyOf(cfg.Network), TLS: keys.plainTLS, ProxyTLS: keys.plainTLS}
}

// WayToOpenCTI is how OpenCTI is reached.
func WayToOpenCTI(cfg config.Config, keys *Keyring) remote.Way {
	return remote.Way{Proxy: proxyOf(cfg.Network), TLS: keys.platformTLS, ProxyTLS: keys.plainTLS}
}

// WayToBroker is how RabbitMQ is reached.
func WayToBroker(cfg config.Config, keys *Keyring) remote.Way {
	return remote.Way{Proxy: brokerProxy(cfg), TLS: keys.brokerTLS, ProxyTLS: keys.plainTLS}
}

// WayToS3 is how a server of S3 is reached.
func WayToS3(cfg config.Config, keys *Keyring) remote.Way {
	return remote.Way{Proxy: proxyOf(cfg.Network), TLS: keys.plainTLS, ProxyTLS: keys.plainTLS}
}

// DialBroker opens sockets to RabbitMQ.
func DialBroker(cfg config.Config, keys *Keyring) func(ctx context.Context, network, address string) (net.Conn, error) {
	way := WayToBroker(cfg, keys)
	return func(ctx context.Context, _, address string) (net.Conn, error) { return way.Open(ctx, "amqp", address) }
}

// proxyOf returns what names the proxy on the way to a URL.
func proxyOf(c config.Network) func(*url.URL) (*url.URL, error) {
	return (&httpproxy.Config{
		HTTPProxy:  c.HTTPProxy.Reveal(),
		HTTPSProxy: c.HTTPSProxy.Reveal(),
		NoProxy:    c.NoProxy,
	}).ProxyFunc()
}

// brokerProxy returns what names the proxy on the way to RabbitMQ.
func brokerProxy(cfg config.Config) func(*url.URL) (*url.URL, error) {
	switch by := cfg.MQ.Proxy; {
	case by.Environment:
		proxies := proxyOf(cfg.Network)
		return func(to *url.URL) (*url.URL, error) {
			return proxies(&url.URL{Scheme: "https", Host: to.Host}) // a tunnel, as for what is encrypted
		}
	case by.URL != "":
		full := by.URL.Reveal()
		if !strings.Contains(full, "://") {
			full = "http://" + full
		}
		proxy, err := url.Parse(full) // found valid when the configuration was read
		return func(*url.URL) (*url.URL, error) { return proxy, err }
	}
	return func(*url.URL) (*url.URL, error) { return nil, nil }
}

func failed(to string, err error) error { return fmt.Errorf("%s: %w", to, err) }
