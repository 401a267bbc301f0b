package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"
)

// Limits of a connection that carries HTTP. What an answer as a whole may take is for the clients to say.
const (
	dialTimeout = 10 * time.Second // two lost packets and some: a host that takes longer is not there
	tlsTimeout  = 10 * time.Second
	// answerTimeout bounds the wait for the head of an answer: a big list is put together before its first byte.
	answerTimeout = time.Minute
	keepAlive     = 30 * time.Second // a dead peer is found out within minutes
	idleTimeout   = 90 * time.Second // as the standard library: below what most proxies allow
	// idleConnections is above any sensible THREATMATCH_CONCURRENCY, so that connections are used again.
	idleConnections = 32
	maxHeadBytes    = 1 << 20 // no server has reason to send a larger head

	// HeadTimeout is what may pass from the start of a request to the head of its answer, for those who enforce it whatever
	// carries the request.
	HeadTimeout = dialTimeout + tlsTimeout + answerTimeout
)

// NewTransport returns what carries HTTP to a remote system on a way. Its owner closes the idle connections at the end.
func NewTransport(w Way) *http.Transport {
	c := &carrier{way: w}
	return &http.Transport{
		Proxy:                  c.forwards,
		DialContext:            c.dial,
		DialTLSContext:         c.dialTLS,
		ResponseHeaderTimeout:  answerTimeout,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConns:           idleConnections,
		MaxIdleConnsPerHost:    idleConnections,
		MaxResponseHeaderBytes: maxHeadBytes,
		ForceAttemptHTTP2:      true,
	}
}

// carrier opens the connections of a transport. It makes tunnels itself, for the transport would secure what goes through its own
// by settings that never change.
type carrier struct {
	way Way
	// secured is the address of the proxy that plain requests are handed to over TLS, "" for none.
	secured atomic.Value
}

// forwards names the proxy that a plain request is handed to. All others get a tunnel.
func (c *carrier) forwards(r *http.Request) (*url.URL, error) {
	if r.URL.Scheme != "http" {
		return nil, nil
	}
	proxy, err := c.way.ProxyTo(r.URL)
	if err != nil || proxy == nil || isSOCKS(proxy) {
		return nil, err
	}
	if proxy.Scheme == "https" {
		c.secured.Store(ProxyAddress(proxy))
	}
	return proxy, nil
}

// dial opens a socket for plain requests, to their server or to the proxy that they are handed to.
func (c *carrier) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if proxy, err := c.way.ProxyTo(&url.URL{Scheme: "http", Host: address}); err == nil && isSOCKS(proxy) {
		return c.way.Open(ctx, "http", address)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return c.way.dial(ctx, network, address)
}

// dialTLS opens a connection over TLS. The transport wants Go's own type, which tells it of HTTP/2, and errors as they are.
func (c *carrier) dialTLS(ctx context.Context, _, address string) (net.Conn, error) {
	way, protocols := c.way, []string{"h2", "http/1.1"}
	if address == c.secured.Load() {
		way.TLS, way.Proxy = way.ProxyTLS, func(*url.URL) (*url.URL, error) { return nil, nil }
		protocols = protocols[1:] // the transport hands requests to a proxy in no other
	}
	settings := way.TLS
	way.TLS = func() *tls.Config {
		s := settingsFor(settings, address).Clone()
		s.NextProtos = protocols
		return s
	}
	secured, err := way.OpenTLS(ctx, address)
	if err != nil {
		return nil, err
	}
	return secured.Conn, nil
}

// Lasting reports failures of a request that another attempt meets again, because they lie in the configuration: a
// redirect to elsewhere, a certificate that does not hold or is asked for, a server that does not speak TLS, a proxy that refuses.
// Everything else that keeps an answer from coming may pass.
func Lasting(err error) bool {
	var (
		redirect  *RedirectError
		verify    *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		record    tls.RecordHeaderError
		proxy     *ProxyError
	)
	return errors.As(err, &redirect) || errors.As(err, &verify) || errors.As(err, &authority) ||
		errors.As(err, &host) || errors.As(err, &record) || errors.Is(err, http.ErrSchemeMismatch) ||
		errors.As(err, &proxy) && (proxy.refusal == badUser || proxy.refusal == notAllowed) || ofClientCertificate(err, Settings{}).Lasting
}
