package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// ClientCertificateError is that a server does not go on for want of a client certificate, or with the one that it was shown.
type ClientCertificateError struct {
	// Shown is the certificate that the server was shown, nil for none.
	Shown *x509.Certificate
	// Err is what the server did about it.
	Err error
}

func (e *ClientCertificateError) Error() string { return e.Err.Error() }

// Unwrap returns what the server did.
func (e *ClientCertificateError) Unwrap() error { return e.Err }

// UnheardError is that a server has asked for a client certificate, was shown none, and ended the connection before it said
// anything: it may need one, or restart, or be hidden behind something that breaks connections off.
type UnheardError struct {
	// Err is how the connection has ended.
	Err error
}

func (e *UnheardError) Error() string { return e.Err.Error() }

// Unwrap returns how the connection has ended.
func (e *UnheardError) Unwrap() error { return e.Err }

// Secured is a connection over TLS. It knows whether the server has asked for a client certificate: with TLS 1.3 a server refuses it,
// or its absence, only after the handshake, and the first read meets that.
type Secured struct {
	*tls.Conn
	asked atomic.Bool
	shown atomic.Pointer[x509.Certificate]
	heard atomic.Bool
}

// Secure makes a TLS connection of a socket, within ctx. The settings name the server. After an error the socket is the caller's to
// close. A client certificate is shown whichever authorities the server names: it may trust others, too, and says what it makes of it.
func Secure(ctx context.Context, socket net.Conn, settings *tls.Config) (*Secured, error) {
	s := &Secured{}
	settings = settings.Clone()
	own := settings.Certificates
	settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		s.asked.Store(true)
		if len(own) == 0 {
			return &tls.Certificate{}, nil
		}
		s.shown.Store(own[0].Leaf)
		return &own[0], nil
	}
	s.Conn = tls.Client(socket, settings)
	if err := s.HandshakeContext(ctx); err != nil {
		return nil, s.explained(err)
	}
	return s, nil
}

// secure is Secure with a limit of its own.
func secure(ctx context.Context, socket net.Conn, settings *tls.Config) (*Secured, error) {
	ctx, cancel := context.WithTimeout(ctx, tlsTimeout)
	defer cancel()
	return Secure(ctx, socket, settings)
}

// Read reads, and tells of what the server has against the client certificate, or its absence, as a [*ClientCertificateError], or as
// an [*UnheardError] where that is no more than likely.
func (s *Secured) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if n > 0 {
		s.heard.Store(true)
	}
	return n, s.explained(err)
}

// Write writes. A server that has ended the connection may let it fail before its reason is read, which is looked for then.
func (s *Secured) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	if err == nil || s.heard.Load() || !s.asked.Load() || isTimeout(err) || errors.Is(err, net.ErrClosed) {
		return n, err
	}
	_ = s.SetReadDeadline(time.Now().Add(alertWait)) // without it there is no reason to find
	if _, reason := s.Conn.Read(make([]byte, 1)); reason != nil {
		if _, alert := Alert(reason); alert {
			err = reason
		}
	}
	return n, s.explained(err)
}

// alertWait is how long an alert may take that is on its way: it was sent before the end that was met.
const alertWait = time.Second

// explained says of an error before anything was heard that it is about the client certificate, or may be.
func (s *Secured) explained(err error) error {
	if err == nil || s.heard.Load() || !s.asked.Load() {
		return err
	}
	switch said, _ := Alert(err); {
	case slices.Contains(aboutClients, said), slices.Contains(aboutCertificates, said):
		return &ClientCertificateError{Shown: s.shown.Load(), Err: err}
	case s.shown.Load() != nil, isTimeout(err), errors.Is(err, net.ErrClosed), errors.Is(err, context.Canceled):
		return err
	}
	return &UnheardError{Err: err} // the end of a connection can overtake its alert
}

// aboutClients are the alerts by which a server that has asked for a client certificate refuses it, or its absence, beside those that
// name a certificate: with TLS 1.2 many have no better one than the first.
var aboutClients = []string{"handshake failure", "certificate required", "access denied", "error decrypting message"}

func isTimeout(err error) bool {
	var network net.Error
	return errors.As(err, &network) && network.Timeout()
}

// Alert returns the words of a TLS alert with which the other side ended a connection, as Go's package for TLS has them, and whether
// it did.
func Alert(err error) (string, bool) {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" && op.Err != nil {
		return strings.TrimPrefix(op.Err.Error(), "tls: "), true
	}
	return "", false
}
