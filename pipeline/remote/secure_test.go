package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/opencti-connectors/threatmatch/pipeline/remote/remotetest"
)

// asking is a server over one version of TLS that asks for a client certificate, and does something once hands are shaken, or not.
func asking(t *testing.T, authority *remotetest.Authority, version uint16, auth tls.ClientAuthType, do func(*tls.Conn)) (address string) {
	t.Helper()
	settings := &tls.Config{
		Certificates: []tls.Certificate{authority.Server("127.0.0.1").TLS(t)}, ClientAuth: auth, MinVersion: version, MaxVersion: version,
		SessionTicketsDisabled: true, // a client would have something to read
	}
	return answering(t, func(c net.Conn) {
		server := tls.Server(c, settings)
		_ = server.HandshakeContext(t.Context()) // which fails where a certificate is required
		do(server)
	})
}

// ask says something to a server that may be ending, and hears how it does.
func ask(t *testing.T, address string, settings *tls.Config) error {
	t.Helper()
	socket, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	settings.ServerName = "127.0.0.1"
	secured, err := Secure(t.Context(), socket, settings)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(secured, "hello"); err != nil {
		return err
	}
	_, err = io.ReadAll(secured)
	if err == nil {
		err = io.EOF
	}
	return err
}

// A server that would take a client certificate ends connections for other reasons, too: it restarts, or what lies between does.
func TestAnEndBesideAWishForAClientCertificateMayPass(t *testing.T) {
	authority := remotetest.NewAuthority(t, "Private CA")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for name, end := range map[string]func(*tls.Conn){
			"a farewell":  func(c *tls.Conn) { c.Close() },
			"no farewell": func(c *tls.Conn) { c.NetConn().Close() },
			"a reset":     func(c *tls.Conn) { _ = c.NetConn().(*net.TCPConn).SetLinger(0); c.NetConn().Close() },
		} {
			address := asking(t, authority, version, tls.RequestClientCert, end)
			for _, shown := range [][]tls.Certificate{nil, {authority.Client("connector").TLS(t)}} {
				settings := trusting(authority)()
				settings.Certificates = shown
				err := ask(t, address, settings)
				d := Diagnose(err, Settings{Address: "ADDRESS", Client: "CLIENT"})
				if d.Kind == "" || d.Lasting || Lasting(err) {
					t.Errorf("%s, %s: %v is %+v", tls.VersionName(version), name, err, d)
				}
				if hint := strings.Contains(d.Remedy, "if it needs one, set CLIENT"); hint != (shown == nil) {
					t.Errorf("%s, %s, %d certificates: %v is told as %q", tls.VersionName(version), name, len(shown), err, d)
				}
			}
		}
	}
}

func TestOnlyAnAlertAboutCertificatesBlamesTheClients(t *testing.T) {
	for _, tt := range []struct {
		alert  uint8
		blames bool
	}{{40, true}, {42, true}, {45, true}, {48, true}, {49, true}, {116, true}, {10, false}, {80, false}, {90, false}} {
		s := &Secured{}
		s.asked.Store(true)
		err := s.explained(&net.OpError{Op: "remote error", Err: tls.AlertError(tt.alert)})
		if d := Diagnose(err, Settings{Client: "CLIENT"}); d.Lasting != tt.blames || Lasting(err) != tt.blames || !strings.Contains(d.Remedy, "set CLIENT") {
			t.Errorf("%v is %+v", err, d)
		}
	}
}

// mute is a socket whose writes fail from some moment on, as they do when a reset has come, while what came before it can be read.
type mute struct {
	net.Conn
	now atomic.Bool
}

func (m *mute) Write(p []byte) (int, error) {
	if m.now.Load() {
		return 0, syscall.ECONNRESET
	}
	return m.Conn.Write(p)
}

// With TLS 1.3 the reason comes after the handshake, and a write may fail before anybody has read it.
func TestAWriteThatFailsTellsTheServersReason(t *testing.T) {
	authority := remotetest.NewAuthority(t, "Private CA")
	told, over := make(chan struct{}), make(chan struct{})
	address := asking(t, authority, tls.VersionTLS13, tls.RequireAnyClientCert, func(*tls.Conn) { close(told); <-over })
	defer close(over)
	dialled, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer dialled.Close()
	socket, settings := &mute{Conn: dialled}, trusting(authority)()
	settings.ServerName = "127.0.0.1"
	secured, err := Secure(t.Context(), socket, settings)
	if err != nil {
		t.Fatal(err)
	}
	<-told
	socket.now.Store(true)
	_, err = io.WriteString(secured, "hello")
	if client := (*ClientCertificateError)(nil); !errors.As(err, &client) || !Diagnose(err, Settings{}).Lasting {
		t.Errorf("it says %v", err)
	}
}

// Whoever gives up waiting is not told of certificates.
func TestAnEndOfOnesOwnIsNotTheServers(t *testing.T) {
	for _, err := range []error{context.Canceled, context.DeadlineExceeded, net.ErrClosed} {
		s := &Secured{}
		s.asked.Store(true)
		if got := s.explained(err); got != err {
			t.Errorf("%v is told as %T", err, got)
		}
	}
}
