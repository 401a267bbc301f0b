package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
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
		if _, alert := Alert(err); alert && s.asked.Load() {
			err = &ClientCertificateError{Shown: s.shown.Load(), Err: err}
		}
		return nil, err
	}
	return s, nil
}

// secure is Secure with a limit of its own.
func secure(ctx context.Context, socket net.Conn, settings *tls.Config) (*Secured, error) {
	ctx, cancel := context.WithTimeout(ctx, tlsTimeout)
	defer cancel()
	return Secure(ctx, socket, settings)
}

// Read reads, and tells of what the server has against the client certificate, or its absence, as a [*ClientCertificateError].
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

// explained says of an error before anything was heard that it is about the client certificate, where that may be so.
func (s *Secured) explained(err error) error {
	if err == nil || s.heard.Load() || !s.asked.Load() {
		return err
	}
	// Without an alert, which the end of a connection can overtake, it is likely only where none was shown.
	if _, alert := Alert(err); alert || s.shown.Load() == nil && !isTimeout(err) && !errors.Is(err, net.ErrClosed) {
		return &ClientCertificateError{Shown: s.shown.Load(), Err: err}
	}
	return err
}

func isTimeout(err error) bool {
	var network net.Error
	return errors.As(err, &network) && network.Timeout()
}

// Alert returns the words of a TLS alert with which the other side ended a connection, and whether it did.
func Alert(err error) (string, bool) {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" && op.Err != nil {
		return op.Err.Error(), true
	}
	return "", false
}
