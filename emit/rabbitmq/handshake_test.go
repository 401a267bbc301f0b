package rabbitmq_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

func TestABrokerThatDoesNotAnswerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *rig, c *rabbitmq.Config) {
			dial, silent := c.Dial, 0
			c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				if silent++; silent > 2 {
					return dial(ctx, network, addr)
				}
				client, server := net.Pipe()
				go func() {
					_, _ = io.Copy(io.Discard, server) // hears all, says nothing
					server.Close()
				}()
				return client, nil
			}
		})
		r.declare()
		began := time.Now()
		r.deliver(1, 3)
		r.check(3)
		if took := time.Since(began); took < time.Minute || took > 61*time.Second {
			t.Errorf("two handshakes of 30 s took %v", took)
		}
	})
}

func TestCloseEndsAHandshakeThatIsNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *rig, c *rabbitmq.Config) {
			c.Dial = func(context.Context, string, string) (net.Conn, error) {
				client, server := net.Pipe()
				go func() {
					_, _ = io.Copy(io.Discard, server)
					server.Close()
				}()
				return client, nil
			}
		})
		answer := make(chan error, 1)
		go func() { answer <- r.publish(t.Context(), 1, 1) }()
		synctest.Wait()
		began := time.Now()
		if err := r.publisher.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("Close took %v", took)
		}
		if err := <-answer; !errors.Is(err, rabbitmq.ErrClosed) {
			t.Errorf("Publish says %v", err)
		}
	})
}

func TestRefusedLoginsAreTriedAgainWithoutRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *rig, c *rabbitmq.Config) { c.Backoff = remote.Backoff{} })
		r.declare()
		r.broker.RefuseAuth(true)
		done := make(chan error, 1)
		go func() { done <- r.publish(t.Context(), 1, 5) }()
		time.Sleep(10 * time.Minute)
		if n := r.dialled(); n < 20 || n > 55 {
			t.Errorf("%d logins in ten minutes", n)
		}
		r.broker.RefuseAuth(false)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		r.deliver(6, 6)
		r.check(6)
	})
}

// behindTLS makes the rig's connection end at a TLS server in front of the broker.
func behindTLS(r *rig, c *rabbitmq.Config, certificate tls.Certificate, relays *sync.WaitGroup) {
	dial := c.Dial
	c.Connection.Host, c.Connection.UseSSL = "example.com", true
	c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		inner, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		client, outer := net.Pipe()
		server := tls.Server(outer, &tls.Config{Certificates: []tls.Certificate{certificate}})
		for _, way := range [][2]net.Conn{{inner, server}, {server, inner}} {
			relays.Go(func() {
				_, _ = io.Copy(way[0], way[1])
				inner.Close()
				outer.Close()
			})
		}
		return client, nil
	}
}

func TestTLSChecksTheBrokersName(t *testing.T) {
	site := httptest.NewTLSServer(nil) // for its certificate, which is good for example.com
	site.Close()
	roots := x509.NewCertPool()
	roots.AddCert(site.Certificate())
	for name, test := range map[string]struct {
		settings *tls.Config
		fine     bool
	}{
		"trusted":                   {&tls.Config{RootCAs: roots}, true},
		"unknown authority":         {nil, false},
		"another name":              {&tls.Config{RootCAs: roots, ServerName: "example.org"}, false},
		"verification switched off": {&tls.Config{InsecureSkipVerify: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), hang)
			defer cancel()
			var relays sync.WaitGroup
			defer relays.Wait()
			r := newRig(t, func(r *rig, c *rabbitmq.Config) {
				if test.settings != nil {
					c.Connection.TLS = func() *tls.Config { return test.settings }
				}
				behindTLS(r, c, site.TLS.Certificates[0], &relays)
				dial, attempts := c.Dial, 0
				c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
					if attempts++; attempts > 1 && !test.fine {
						cancel() // the first has failed
					}
					return dial(ctx, network, addr)
				}
			})
			defer func() {
				if err := r.publisher.Close(context.Background()); err != nil {
					t.Error(err)
				}
			}()
			r.declare()
			err := r.publish(ctx, 1, 20)
			if err == nil {
				err = r.publisher.Flush(ctx, nil)
			}
			if test.fine && err != nil || !test.fine && !errors.Is(err, context.Canceled) {
				t.Errorf("publish says %v", err)
			}
			if test.settings != nil && test.settings.ServerName == "example.com" {
				t.Error("the caller's TLS settings were changed")
			}
		})
	}
}

// TestALargeMessageOutlivesAnAlarm blocks the connection in the middle of a message that does not fit into any buffer.
func TestALargeMessageOutlivesAnAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.declare()
		r.deliver(1, 1)
		r.broker.Block("low on memory")
		large := strings.Repeat("x", 4<<20)
		if err := r.publisher.Publish(t.Context(), []byte(large), nil, nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.broker.Unblock()
		if err := r.publisher.Flush(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if got := r.inQueue(); len(got) != 2 || got[1] != large {
			t.Errorf("%d messages arrived", len(got))
		}
		if s := r.publisher.Stats(); s.Sessions != 1 {
			t.Errorf("the connection was given up: %+v", s)
		}
	})
}

func TestAPasswordShowsInNoTextForm(t *testing.T) {
	c := rabbitmq.Connection{Host: "mq", Port: 5671, User: "opencti", Password: password, UseSSL: true, VHost: "cti"}
	if got, want := c.String(), `amqps://opencti@mq:5671 (vhost "cti")`; got != want {
		t.Errorf("String gives %s, want %s", got, want)
	}
	if got := c.GoString(); strings.Contains(got, password) {
		t.Errorf("GoString shows the password: %s", got)
	}
}
