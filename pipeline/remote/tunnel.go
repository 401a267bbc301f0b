package remote

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/proxy"
)

// ProxyError is why a proxy does not lead to where it should.
type ProxyError struct {
	// Proxy is its scheme, host and port, without a user or a password.
	Proxy string
	// Err is what went wrong: on the way to the proxy, or what that said.
	Err error

	refusal refusal
}

// refusal is what a proxy that was reached has against a connection.
type refusal int

const (
	noRefusal     refusal = iota // it was not reached, or not understood
	badUser                      // it wants a user and a password, or others
	notAllowed                   // it does not let this through
	cannotConnect                // it cannot reach the system itself
)

func (e *ProxyError) Error() string { return "proxy " + e.Proxy + ": " + e.Err.Error() }

// Unwrap returns what went wrong.
func (e *ProxyError) Unwrap() error { return e.Err }

// maxProxyAnswer bounds, in bytes, what is read of a proxy's answer. It is a line and some headers.
const maxProxyAnswer = 64 << 10

// tunnel opens a socket to an address through a proxy.
func (w Way) tunnel(ctx context.Context, through *url.URL, address string) (net.Conn, error) {
	socket, refused, err := w.lead(ctx, through, address)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, &ProxyError{Proxy: through.Scheme + "://" + ProxyAddress(through), Err: err, refusal: refused}
	}
	return socket, nil
}

func (w Way) lead(ctx context.Context, through *url.URL, address string) (net.Conn, refusal, error) {
	if isSOCKS(through) {
		return w.leadSOCKS(ctx, through, address)
	}
	socket, err := w.openProxy(ctx, through)
	if err != nil {
		return nil, noRefusal, err
	}
	uncut := context.AfterFunc(ctx, func() { socket.Close() })
	refused, err := connect(socket, through.User, address)
	if !uncut() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = socket.Close()
		return nil, refused, err
	}
	return socket, noRefusal, nil
}

// openProxy opens a connection to the proxy itself, with TLS where its URL says so.
func (w Way) openProxy(ctx context.Context, through *url.URL) (net.Conn, error) {
	address := ProxyAddress(through)
	socket, err := w.dial(ctx, "tcp", address)
	if err != nil || through.Scheme != "https" {
		return socket, err
	}
	secured, err := secure(ctx, socket, settingsFor(w.ProxyTLS, address))
	if err != nil {
		_ = socket.Close()
		return nil, err
	}
	return secured, nil
}

// connect asks a proxy for a tunnel. Whatever uses it must speak first: what came of the other side already would be lost, and
// is an error.
func connect(socket net.Conn, user *url.Userinfo, address string) (refusal, error) {
	ask := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: http.Header{}}
	if user != nil {
		password, _ := user.Password()
		ask.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	if err := ask.Write(socket); err != nil {
		return noRefusal, fmt.Errorf("ask for a tunnel: %w", err)
	}
	answer := bufio.NewReader(io.LimitReader(socket, maxProxyAnswer))
	resp, err := http.ReadResponse(answer, ask)
	if err != nil {
		return noRefusal, fmt.Errorf("read the answer to CONNECT: %w", err)
	}
	// Not read: of a refusal the status says enough, and closing waits for nothing.
	switch status := resp.StatusCode; {
	case status/100 == 2 && answer.Buffered() > 0:
		return noRefusal, errors.New("something comes through the tunnel before anything was asked")
	case status/100 == 2:
		return noRefusal, nil
	case status == http.StatusProxyAuthRequired, status == http.StatusUnauthorized: // the latter is tinyproxy's word for a wrong password
		return badUser, refusedConnect(status)
	case status >= http.StatusInternalServerError:
		return cannotConnect, refusedConnect(status)
	default:
		return notAllowed, refusedConnect(status)
	}
}

func refusedConnect(status int) error {
	return fmt.Errorf("answers CONNECT with %s", strings.TrimSpace(fmt.Sprintf("%d %s", status, http.StatusText(status))))
}

// leadSOCKS opens a socket through a proxy that speaks SOCKS.
func (w Way) leadSOCKS(ctx context.Context, through *url.URL, address string) (net.Conn, refusal, error) {
	var auth *proxy.Auth
	if through.User != nil {
		password, _ := through.User.Password()
		auth = &proxy.Auth{User: through.User.Username(), Password: password}
	}
	dialer, err := proxy.SOCKS5("tcp", ProxyAddress(through), auth, forwarder(w.dial))
	if err != nil {
		return nil, noRefusal, err
	}
	socket, err := dialer.(proxy.ContextDialer).DialContext(ctx, "tcp", address)
	if err != nil {
		refused := socksRefusal(err)
		if op := (*net.OpError)(nil); errors.As(err, &op) && strings.HasPrefix(op.Op, "socks") && op.Err != nil {
			err = op.Err // the rest names both ends again
		}
		return nil, refused, err
	}
	return socket, noRefusal, nil
}

// socksRefusal tells what a proxy that speaks SOCKS has against a connection, by the library's words: it has nothing else.
func socksRefusal(err error) refusal {
	said := err.Error()
	switch {
	case strings.Contains(said, "authentication"):
		return badUser
	case strings.Contains(said, "not allowed by ruleset"):
		return notAllowed
	case strings.Contains(said, "unknown error "): // before the words for a reply
		return cannotConnect
	}
	return noRefusal
}

// forwarder is a function as the library wants a dialer to be.
type forwarder func(ctx context.Context, network, address string) (net.Conn, error)

func (f forwarder) Dial(network, address string) (net.Conn, error) {
	return f(context.Background(), network, address)
}

func (f forwarder) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return f(ctx, network, address)
}

func isSOCKS(u *url.URL) bool { return u != nil && strings.HasPrefix(u.Scheme, "socks5") }

// ProxyAddress is the host and port at which a proxy listens, of which its URL may leave out the port.
func ProxyAddress(u *url.URL) string {
	port := "80"
	switch {
	case u.Port() != "":
		port = u.Port()
	case isSOCKS(u):
		port = "1080"
	case u.Scheme == "https":
		port = "443"
	}
	return net.JoinHostPort(u.Hostname(), port)
}
