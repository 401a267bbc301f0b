package remote

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
)

// Way is how connections to a remote system are made. The zero value goes by the proxies that the environment names, and trusts the
// system's authorities.
type Way struct {
	// Proxy names the proxy on the way to a URL, nil for none: its scheme is http, https, socks5 or socks5h.
	Proxy func(to *url.URL) (*url.URL, error)
	// TLS makes the settings of one connection to the system, ProxyTLS of one to a proxy that speaks TLS. Both are asked for each
	// connection, so that certificates that have changed count from the next one on.
	TLS, ProxyTLS func() *tls.Config

	socket func(ctx context.Context, network, address string) (net.Conn, error) // nil for the network
}

// ProxyTo names the proxy on the way to a URL, nil for none.
func (w Way) ProxyTo(to *url.URL) (*url.URL, error) {
	if w.Proxy == nil {
		return http.ProxyFromEnvironment(&http.Request{URL: to})
	}
	return w.Proxy(to)
}

// Open opens a socket to a host and port that a URL with a scheme names, through the proxy if there is one: that one looks the name
// up then. It takes ten seconds at most. An error that comes from the proxy, or from the way to it, is a [*ProxyError].
func (w Way) Open(ctx context.Context, scheme, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	proxy, err := w.ProxyTo(&url.URL{Scheme: scheme, Host: address})
	if err != nil {
		return nil, err
	}
	if proxy == nil {
		return w.dial(ctx, "tcp", address)
	}
	return w.tunnel(ctx, proxy, address)
}

// OpenTLS opens a TLS connection to a host and port as [Way.Open] opens a socket. The handshake takes ten seconds at most.
func (w Way) OpenTLS(ctx context.Context, address string) (*Secured, error) {
	socket, err := w.Open(ctx, "https", address)
	if err != nil {
		return nil, err
	}
	secured, err := secure(ctx, socket, settingsFor(w.TLS, address))
	if err != nil {
		_ = socket.Close() // the error of the handshake is the one to tell
		return nil, err
	}
	return secured, nil
}

// settingsFor makes the settings for one connection to an address.
func settingsFor(make func() *tls.Config, address string) *tls.Config {
	var settings *tls.Config
	if make != nil {
		settings = make()
	}
	if settings == nil {
		settings = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if settings.ServerName == "" {
		settings = settings.Clone()
		settings.ServerName, _, _ = net.SplitHostPort(address) // who dials finds out that it is none
	}
	return settings
}

func (w Way) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if w.socket != nil {
		return w.socket(ctx, network, address)
	}
	return (&net.Dialer{KeepAlive: keepAlive}).DialContext(ctx, network, address)
}
