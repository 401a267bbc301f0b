package remote

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline/remote/remotetest"
)

// by returns a way by one proxy for all.
func by(t *testing.T, proxy string) Way {
	t.Helper()
	u, err := url.Parse(proxy)
	if err != nil {
		t.Fatal(err)
	}
	return Way{Proxy: func(*url.URL) (*url.URL, error) { return u, nil }}
}

// echo answers each line with itself.
func echo(t *testing.T) (address string) {
	t.Helper()
	return answering(t, func(c net.Conn) {
		line, _ := bufio.NewReader(c).ReadString('\n')
		_, _ = io.WriteString(c, line)
	})
}

// answering does something with each connection, and ends it.
func answering(t *testing.T, do func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
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
			do(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return l.Addr().String()
}

func TestATunnelLeadsThroughARealProxy(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *remotetest.Proxy{"http": remotetest.StartTinyproxy, "socks5": remotetest.StartMicrosocks} {
		t.Run(name, func(t *testing.T) {
			proxy, target := start(t), echo(t)
			socket, err := by(t, proxy.URL).Open(t.Context(), "amqp", target)
			if err != nil {
				t.Fatal(err)
			}
			defer socket.Close()
			if _, err := io.WriteString(socket, "hello\n"); err != nil {
				t.Fatal(err)
			}
			if said, err := io.ReadAll(socket); err != nil || string(said) != "hello\n" {
				t.Errorf("%q comes back, %v", said, err)
			}
			if !strings.Contains(proxy.Log(), target) && !strings.Contains(proxy.Log(), strings.Split(target, ":")[1]) {
				t.Errorf("the proxy knows nothing of it: %s", proxy.Log())
			}
		})
	}
}

// What a real proxy has against a connection is told apart, and never with its password.
func TestARealProxysRefusalHasItsRemedy(t *testing.T) {
	settings := Settings{Address: "ADDRESS", Proxy: "PROXY"}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	closed.Close()
	target, ends := echo(t), answering(t, func(net.Conn) {})
	for name, start := range map[string]func(testing.TB) *remotetest.Proxy{"http": remotetest.StartTinyproxy, "socks5": remotetest.StartMicrosocks} {
		t.Run(name, func(t *testing.T) {
			proxy := start(t)
			for what, tt := range map[string]struct {
				proxy, target string
				lasting       bool
				problem       string
				remedy        string
			}{
				"another password":    {strings.Replace(proxy.URL, remotetest.ProxyPassword, remotetest.ProxyPassword+"-not", 1), target, true, "does not take the user and password, or wants some", "check PROXY"},
				"no password":         {strings.Replace(proxy.URL, remotetest.ProxyUser+":"+remotetest.ProxyPassword+"@", "", 1), target, true, "does not take the user and password, or wants some", "check PROXY"},
				"nobody behind it":    {proxy.URL, nobody, false, "cannot reach it", "check ADDRESS"},
				"no proxy":            {strings.Replace(proxy.URL, proxy.Address, nobody, 1), target, false, nobody + ": nothing listens there", "and PROXY"},
				"no name of a proxy":  {name + "://me:" + remotetest.ProxyPassword + "@proxy.invalid:1", target, true, "proxy.invalid:1: its name cannot be resolved", "and PROXY"},
				"something that ends": {name + "://me:" + remotetest.ProxyPassword + "@" + ends, target, false, "the proxy " + name + "://" + ends, "PROXY"},
			} {
				socket, err := by(t, tt.proxy).Open(t.Context(), "amqp", tt.target)
				if err == nil {
					socket.Close()
				}
				d := Diagnose(err, settings)
				if !strings.Contains(d.Problem, tt.problem) || !strings.Contains(d.Remedy, tt.remedy) || d.Lasting != tt.lasting {
					t.Errorf("%s: %v is %+v", what, err, d)
				}
				if err != nil && strings.Contains(err.Error()+d.String(), "nobody-may-see") {
					t.Errorf("%s shows the password: %v", what, err)
				}
			}
		})
	}
}

// scripted is a proxy of one answer, behind which nothing is; asked gets what it is asked.
func scripted(t *testing.T, answer string, asked chan<- *http.Request) Way {
	way := by(t, "http://me:pass%20word@proxy.test:3128")
	way.socket = func(_ context.Context, _, address string) (net.Conn, error) {
		client, proxy := net.Pipe()
		go func() {
			defer proxy.Close()
			r, err := http.ReadRequest(bufio.NewReader(proxy))
			if err != nil {
				return
			}
			r.RemoteAddr = address
			asked <- r
			_, _ = io.WriteString(proxy, answer)
			_, _ = io.Copy(io.Discard, proxy)
		}()
		return client, nil
	}
	return way
}

// The name is the proxy's to look up: it may be known there only.
func TestATunnelIsAskedForByNameAndWithTheProxysUser(t *testing.T) {
	asked := make(chan *http.Request, 1)
	socket, err := scripted(t, "HTTP/1.1 200 Connection established\r\n\r\n", asked).Open(t.Context(), "amqp", "broker.inside.test:5671")
	if err != nil {
		t.Fatal(err)
	}
	socket.Close()
	r := <-asked
	r.Header.Set("Authorization", r.Header.Get("Proxy-Authorization"))
	user, password, _ := r.BasicAuth()
	if r.Method != http.MethodConnect || r.Host != "broker.inside.test:5671" || r.RemoteAddr != "proxy.test:3128" || user != "me" || password != "pass word" {
		t.Errorf("asked %s %s of %s as %s, %s", r.Method, r.Host, r.RemoteAddr, user, password)
	}
}

func TestAnOddAnswerOfAProxyIsAnError(t *testing.T) {
	for answer, want := range map[string]string{
		"HTTP/1.1 403 Forbidden\r\n\r\n":                "does not let this through",
		"HTTP/1.1 200 OK\r\n\r\nalready":                "does not answer as one",
		"SSH-2.0-OpenSSH_9.2\r\n":                       "does not answer as one",
		"HTTP/1.1 200 " + strings.Repeat("x", 100<<10):  "", // more than is read
		"HTTP/1.1 504 Gateway Time-out\r\nA: b\r\n\r\n": "cannot reach it",
	} {
		_, err := scripted(t, answer, make(chan *http.Request, 1)).Open(t.Context(), "amqp", "broker.test:5672")
		var proxy *ProxyError
		if d := Diagnose(err, Settings{Proxy: "PROXY"}); !errors.As(err, &proxy) || !strings.Contains(d.Problem, want) {
			t.Errorf("%.40q: %v is %+v", answer, err, d)
		}
	}
}

func TestAProxyThatSaysNothingIsGivenUp(t *testing.T) {
	for _, scheme := range []string{"http", "https", "socks5"} {
		synctest.Test(t, func(t *testing.T) {
			way := by(t, scheme+"://proxy.test:3128")
			var far net.Conn
			way.socket = func(context.Context, string, string) (net.Conn, error) {
				near, end := net.Pipe()
				far = end
				go func() { _, _ = io.Copy(io.Discard, end) }()
				return near, nil
			}
			began := time.Now()
			_, err := way.Open(t.Context(), "amqp", "broker.test:5672")
			if took := time.Since(began); took > dialTimeout {
				t.Errorf("%s: given up after %s", scheme, took)
			}
			if d := Diagnose(err, Settings{Proxy: "PROXY"}); d.Kind != "proxy timeout" || !strings.Contains(d.String(), "PROXY") {
				t.Errorf("%s: %v is %+v", scheme, err, d)
			}
			far.Close()
		})
	}
}

// A server whose handshake hangs costs the limit, and no more.
func TestAHandshakeThatHangsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		way := Way{Proxy: func(*url.URL) (*url.URL, error) { return nil, nil }}
		way.socket = func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, far); far.Close() }()
			return near, nil
		}
		began := time.Now()
		if _, err := way.OpenTLS(t.Context(), "a.test:443"); err == nil || time.Since(began) > tlsTimeout {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

// site serves over TLS, with HTTP/2, at an address that proxies are used for.
func site(t *testing.T, host string, pair remotetest.Pair) *httptest.Server {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }))
	s.Listener.Close()
	s.Listener, s.EnableHTTP2 = l, true
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // some handshakes are meant to fail
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair.TLS(t)}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func trusting(authorities ...*remotetest.Authority) func() *tls.Config {
	pool := x509.NewCertPool()
	for _, a := range authorities {
		pool.AppendCertsFromPEM([]byte(a.PEM))
	}
	return func() *tls.Config { return &tls.Config{RootCAs: pool} }
}

func fetch(c *http.Transport, address string) (string, error) {
	resp, err := (&http.Client{Transport: c}).Get(address)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

func TestRequestsSpeakHTTP2OnEveryWay(t *testing.T) {
	authority := remotetest.NewAuthority(t, "Private CA")
	s := site(t, "127.0.0.1", authority.Server("127.0.0.1"))
	ways := map[string]func(*testing.T) Way{
		"direct": func(*testing.T) Way { return Way{Proxy: func(*url.URL) (*url.URL, error) { return nil, nil }} },
		"http":   func(t *testing.T) Way { return by(t, remotetest.StartTinyproxy(t).URL) },
		"socks5": func(t *testing.T) Way { return by(t, remotetest.StartMicrosocks(t).URL) },
		"socks5h": func(t *testing.T) Way {
			return by(t, strings.Replace(remotetest.StartMicrosocks(t).URL, "socks5", "socks5h", 1))
		},
	}
	for name, make := range ways {
		t.Run(name, func(t *testing.T) {
			way := make(t)
			way.TLS = trusting(authority)
			c := NewTransport(way)
			defer c.CloseIdleConnections()
			if said, err := fetch(c, s.URL); err != nil || said != "HTTP/2.0" {
				t.Errorf("%q, %v", said, err)
			}
		})
	}
}

// Plain requests are handed to the proxy, which may allow no tunnel for them; to one that speaks SOCKS everything is a tunnel.
func TestPlainRequestsAreHandedToTheProxy(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "plain") }))
	defer plain.Close()
	authority := remotetest.NewAuthority(t, "Private CA")
	for name, start := range map[string]func(testing.TB) *remotetest.Proxy{"http": remotetest.StartTinyproxy, "https": remotetest.StartTinyproxy, "socks5": remotetest.StartMicrosocks} {
		t.Run(name, func(t *testing.T) {
			proxy := start(t)
			address := proxy.URL
			if name == "https" {
				address = strings.Replace(strings.Replace(address, "http:", "https:", 1), proxy.Address, inTLS(t, proxy.Address, authority.Server("127.0.0.1")), 1)
			}
			way := by(t, address)
			way.ProxyTLS = trusting(authority)
			c := NewTransport(way)
			defer c.CloseIdleConnections()
			if said, err := fetch(c, plain.URL); err != nil || said != "plain" {
				t.Errorf("%q, %v", said, err)
			}
			if name != "socks5" && !strings.Contains(proxy.Log(), "GET "+plain.URL) {
				t.Errorf("the proxy was not asked: %s", proxy.Log())
			}
		})
	}
}

// The transport speaks HTTP/1.1 to a proxy whatever they have agreed on, so nothing else may be agreed on.
func TestAProxyThatSpeaksHTTP2IsAskedInHTTP1(t *testing.T) {
	authority := remotetest.NewAuthority(t, "Proxy CA")
	proxy := site(t, "127.0.0.1", authority.Server("127.0.0.1"))
	way := by(t, proxy.URL)
	way.ProxyTLS = trusting(authority)
	c := NewTransport(way)
	defer c.CloseIdleConnections()
	if said, err := fetch(c, "http://api.test/"); err != nil || said != "HTTP/1.1" {
		t.Errorf("%q, %v", said, err)
	}
}

// inTLS puts TLS in front of an address.
func inTLS(t *testing.T, address string, pair remotetest.Pair) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair.TLS(t)}})
	if err != nil {
		t.Fatal(err)
	}
	return remotetest.Relay(t, l, address)
}

// A tunnel through a proxy that speaks TLS is checked twice, each end by its own name and settings.
func TestAProxyThatSpeaksTLSIsTrustedByItsOwnSettings(t *testing.T) {
	theirs, ours := remotetest.NewAuthority(t, "Proxy CA"), remotetest.NewAuthority(t, "Private CA")
	s := site(t, "127.0.0.1", ours.Server("127.0.0.1"))
	proxy := remotetest.StartTinyproxy(t)
	address := strings.Replace(strings.Replace(proxy.URL, "http:", "https:", 1), proxy.Address, inTLS(t, proxy.Address, theirs.Server("127.0.0.1")), 1)
	for name, tt := range map[string]struct {
		system, proxy *remotetest.Authority
		problem       string
	}{
		"both trusted":      {ours, theirs, ""},
		"the proxy unknown": {ours, ours, "its certificate (CN=127.0.0.1, issued by CN=Proxy CA, valid until "},
		"the other unknown": {theirs, theirs, "its certificate (CN=127.0.0.1, issued by CN=Private CA, valid until "},
	} {
		way := by(t, address)
		way.TLS, way.ProxyTLS = trusting(tt.system), trusting(tt.proxy)
		c := NewTransport(way)
		_, err := fetch(c, s.URL)
		c.CloseIdleConnections()
		d := Diagnose(err, Settings{Authority: "AUTHORITY", Proxy: "PROXY"})
		if (err == nil) != (tt.problem == "") || !strings.Contains(d.Problem, tt.problem) {
			t.Errorf("%s: %v is %+v", name, err, d)
		}
		if at := strings.HasPrefix(d.Problem, "the proxy https://127.0.0.1:"); at != (name == "the proxy unknown") {
			t.Errorf("%s: %s", name, d)
		}
	}
}
