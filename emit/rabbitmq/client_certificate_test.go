package rabbitmq_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/pipeline/remote/remotetest"
)

// A server says what it has against a client certificate within the handshake or after it, as the version of TLS is; the library that
// logs in keeps only the words of the second.
func TestABrokerThatWantsAnotherClientCertificateIsUnderstood(t *testing.T) {
	authority, stranger := remotetest.NewAuthority(t, "Broker CA"), remotetest.NewAuthority(t, "Strange CA")
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(authority.PEM))
	foreign := stranger.Client("a stranger").TLS(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
			Certificates: []tls.Certificate{authority.Server("127.0.0.1").TLS(t)}, ClientCAs: pool,
			ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: version, MaxVersion: version,
		})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_ = c.(*tls.Conn).HandshakeContext(t.Context()) // which it refuses
				c.Close()
			}
		}()
		for want, shown := range map[string][]tls.Certificate{
			"it asks for a client certificate, and is shown none":                                           nil,
			"it does not take the client certificate (CN=a stranger, issued by CN=Strange CA, valid until ": {foreign},
		} {
			at := l.Addr().(*net.TCPAddr)
			conn := rabbitmq.Connection{
				Host: "127.0.0.1", Port: at.Port, UseSSL: true,
				TLS: func() *tls.Config { return &tls.Config{RootCAs: pool, Certificates: shown} },
			}
			_, err := rabbitmq.Look(t.Context(), rabbitmq.Config{Connection: conn}, "")
			d := rabbitmq.Diagnose(err, conn)
			if !strings.HasPrefix(d.Problem, want) || !strings.Contains(d.Remedy, "set MQ_USE_SSL_CERT and MQ_USE_SSL_KEY") || !d.Lasting {
				t.Errorf("%s: %v is told as %q", tls.VersionName(version), err, d)
			}
		}
		l.Close()
		<-ended
	}
}

// A broker that would take a client certificate, and one that is restarted, may be the same.
func TestABrokerThatEndsAndAsksForAClientCertificateMayRestart(t *testing.T) {
	authority := remotetest.NewAuthority(t, "Broker CA")
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(authority.PEM))
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{authority.Server("127.0.0.1").TLS(t)}, ClientAuth: tls.RequestClientCert,
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c, err := l.Accept()
		if err != nil {
			return
		}
		_ = c.(*tls.Conn).HandshakeContext(t.Context())
		c.Close()
	}()
	defer func() { l.Close(); <-ended }()
	conn := rabbitmq.Connection{
		Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, UseSSL: true, TLS: func() *tls.Config { return &tls.Config{RootCAs: pool} },
	}
	_, err = rabbitmq.Look(t.Context(), rabbitmq.Config{Connection: conn}, "")
	d := rabbitmq.Diagnose(err, conn)
	if d.Lasting || d.Problem != "it ends connections without an answer" || !strings.Contains(d.Remedy, "if it needs one, set MQ_USE_SSL_CERT and MQ_USE_SSL_KEY") {
		t.Errorf("%v is told as %+v", err, d)
	}
}
