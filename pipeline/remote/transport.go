package remote

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
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

// NewTransport returns what carries HTTP to a remote system. A nil proxy stands for the proxy of the environment, nil
// settings for the system's authorities. Its owner closes the idle connections at the end.
func NewTransport(proxy func(*http.Request) (*url.URL, error), settings *tls.Config) *http.Transport {
	if proxy == nil {
		proxy = http.ProxyFromEnvironment
	}
	return &http.Transport{
		Proxy:                  proxy,
		DialContext:            (&net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}).DialContext,
		TLSClientConfig:        settings,
		TLSHandshakeTimeout:    tlsTimeout,
		ResponseHeaderTimeout:  answerTimeout,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConns:           idleConnections,
		MaxIdleConnsPerHost:    idleConnections,
		MaxResponseHeaderBytes: maxHeadBytes,
		ForceAttemptHTTP2:      true,
	}
}

// Lasting reports failures of a request that another attempt meets again, because they lie in the configuration: a
// redirect to elsewhere, a certificate that does not hold, a server that does not speak TLS. Everything else that keeps an
// answer from coming may pass.
func Lasting(err error) bool {
	var (
		redirect  *RedirectError
		verify    *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		record    tls.RecordHeaderError
	)
	return errors.As(err, &redirect) || errors.As(err, &verify) || errors.As(err, &authority) ||
		errors.As(err, &host) || errors.As(err, &record) || errors.Is(err, http.ErrSchemeMismatch)
}
