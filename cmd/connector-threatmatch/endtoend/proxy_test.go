package endtoend

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
	"github.com/opencti-connectors/threatmatch/pipeline/remote/remotetest"
)

// private is a world behind a private authority, at an address that proxies are used for.
type private struct {
	*world
	api, opencti, broker string // host and port of each
}

// newPrivate puts TLS in front of what a world has. RabbitMQ is a real one that wants a client certificate.
func newPrivate(t *testing.T) private {
	t.Helper()
	own, folder := remotetest.OwnAddress(t), t.TempDir()
	authority := remotetest.NewAuthority(t, "Private CA")
	server, client := authority.Server(own, "127.0.0.1"), authority.Client("connector")
	ca := remotetest.Write(t, folder, "ca.pem", authority.PEM)
	node, err := rabbitmqtest.StartNode(t.Context(), filepath.Join(folder, "node"), rabbitmqtest.WithTLS(rabbitmqtest.NodeTLS{
		Certificate: remotetest.Write(t, folder, "cert.pem", server.Cert), Key: remotetest.Write(t, folder, "key.pem", server.Key), Authority: ca, WantsClient: true,
	}))
	if errors.Is(err, rabbitmqtest.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Close() })
	data := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 23, Profiles: 10, Alerts: 10, Indicators: 50})
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}, node: node})
	p := private{
		world: w, api: servedOverTLS(t, own, w.api, server), opencti: servedOverTLS(t, own, w.platform, server),
		broker: relayed(t, own, net.JoinHostPort(node.Host(), strconv.Itoa(node.TLSPort()))),
	}
	host, port, _ := net.SplitHostPort(p.broker)
	for name, value := range map[string]string{
		"THREATMATCH_URL": "https://" + p.api, "OPENCTI_URL": "https://" + p.opencti, "HTTPS_CA_CERTIFICATES": ca,
		"MQ_HOST": host, "MQ_PORT": port, "MQ_USE_SSL": "true",
		"MQ_USE_SSL_CERT": remotetest.Write(t, folder, "client.pem", client.Cert), "MQ_USE_SSL_KEY": remotetest.Write(t, folder, "client-key.pem", client.Key),
	} {
		w.env[name] = value
	}
	w.secrets = append(w.secrets, remotetest.ProxyPassword)
	return p
}

// servedOverTLS serves over TLS at an address of this machine.
func servedOverTLS(t *testing.T, host string, h http.Handler, pair remotetest.Pair) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: hang, ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair.TLS(t)}},
	}
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = server.Close(); <-ended })
	return l.Addr().String()
}

// relayed lets an address of the loopback interface be reached at another one of this machine.
func relayed(t *testing.T, host, to string) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	return remotetest.Relay(t, l, to)
}

// through reports which of the three the proxy was asked for.
func (p private) through(proxy *remotetest.Proxy) map[string]bool {
	asked, all := proxy.Log(), map[string]bool{}
	for name, address := range map[string]string{"ThreatMatch": p.api, "OpenCTI": p.opencti, "RabbitMQ": p.broker} {
		_, port, _ := net.SplitHostPort(address)
		all[name] = strings.Contains(asked, address) || strings.Contains(asked, "connected to "+address) || strings.Contains(asked, ":"+port+"\n")
	}
	return all
}

// The whole connector, with nothing but a way by a real proxy that wants a password: API, token, GraphQL and AMQP go through it, and
// what NO_PROXY names does not.
func TestEverythingGoesThroughAProxyThatWantsAPassword(t *testing.T) {
	world := newPrivate(t)
	for name, tt := range map[string]struct {
		start func(testing.TB) *remotetest.Proxy
		env   func(proxy string) []string
		not   string // what goes without
	}{
		"HTTP": {remotetest.StartTinyproxy, func(proxy string) []string { return []string{"HTTPS_PROXY=" + proxy, "MQ_PROXY=" + proxy} }, ""},
		"from the environment, without OpenCTI": {remotetest.StartTinyproxy, func(proxy string) []string {
			return []string{"HTTPS_PROXY=" + proxy, "MQ_PROXY=environment", "NO_PROXY=" + world.opencti}
		}, "OpenCTI"},
		"for requests only": {remotetest.StartTinyproxy, func(proxy string) []string { return []string{"HTTPS_PROXY=" + proxy} }, "RabbitMQ"},
		"SOCKS":             {remotetest.StartMicrosocks, func(proxy string) []string { return []string{"HTTPS_PROXY=" + proxy, "MQ_PROXY=" + proxy} }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			proxy := tt.start(t)
			env := append(tt.env(proxy.URL), "CONNECTOR_REIMPORT=true")
			world.run(exitOK, env...)
			if len(world.take()) == 0 {
				t.Error("nothing was delivered")
			}
			for remote, through := range world.through(proxy) {
				if through == (remote == tt.not) {
					t.Errorf("%s goes through the proxy: %t\n%s", remote, through, proxy.Log())
				}
			}
			check := world.startCommand([]string{"check", "--json"}, env...)
			check.wants(exitOK)
			if by := strings.Count(check.output(), "by way of the proxy "+proxy.Address); by != 3 && tt.not == "" || by != 2 && tt.not != "" {
				t.Errorf("check names the proxy %d times:\n%s", by, check.output())
			}
		})
	}
}

// The proxy's refusal is told as its own, and its password never.
func TestAProxyThatRefusesIsToldOfAsAProxy(t *testing.T) {
	proxy := remotetest.StartTinyproxy(t)
	wrong := strings.Replace(proxy.URL, remotetest.ProxyPassword, remotetest.ProxyPassword+"-not", 1)
	w := newWorld(t, worldConfig{})
	w.secrets = append(w.secrets, remotetest.ProxyPassword)
	w.env["THREATMATCH_URL"] = "https://threatmatch.invalid"
	check := w.startCommand([]string{"check", "--json"}, "HTTPS_PROXY="+wrong, "MQ_PROXY="+wrong, "MQ_HOST=mq.invalid", "MQ_PORT=5671", "MQ_USER=u", "MQ_PASS=p", "MQ_USE_SSL=true")
	check.wants(exitRunFailed)
	for _, part := range []string{
		"the proxy http://" + proxy.Address + " does not take the user and password", "check MQ_PROXY", "check HTTPS_PROXY",
	} {
		if !check.logs(part) {
			t.Errorf("check does not say %q:\n%s", part, check.output())
		}
	}
}

// What is wrong with a certificate is told alike by the log and by check: of which connection, which certificate, which variable.
func TestAWrongCertificateIsToldAlikeByTheLogAndByCheck(t *testing.T) {
	world := newPrivate(t)
	own, _, _ := net.SplitHostPort(world.api)
	of := "its certificate (CN=" + own + ", issued by CN=Private CA, valid until "
	for name, tt := range map[string]struct {
		env        []string
		log, check []string
	}{
		"an authority that nobody knows": {
			[]string{"HTTPS_CA_CERTIFICATES="},
			[]string{"OpenCTI cannot be used as it is set up: " + of, "name that authority's certificate in HTTPS_CA_CERTIFICATES, or in a file whose path OPENCTI_SSL_VERIFY names"},
			[]string{world.api + ": " + of, world.opencti + ": " + of, "name that authority's certificate in HTTPS_CA_CERTIFICATES"},
		},
		"a client certificate that is missing": {
			[]string{"MQ_USE_SSL_CERT=", "MQ_USE_SSL_KEY="},
			[]string{"RabbitMQ cannot be used as it is set up: it asks for a client certificate, and is shown none; set MQ_USE_SSL_CERT and MQ_USE_SSL_KEY"},
			// RabbitMQ on a busy machine may end the connection before it has sent the alert that says why: the log tries again
			// and hears it, check asks once, and then names it as what may be behind the end.
			[]string{"asks for a client certificate, and is shown none", "set MQ_USE_SSL_CERT and MQ_USE_SSL_KEY"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			env := append(tt.env, "MQ_USER="+world.node.User(), "MQ_PASS="+world.node.Password())
			p := world.start(env...)
			for _, part := range tt.log {
				p.awaits(part)
			}
			p.end()
			check := world.startCommand([]string{"check", "--json"}, env...)
			check.wants(exitRunFailed)
			for _, part := range tt.check {
				if !check.logs(part) {
					t.Errorf("check does not say %q:\n%s", part, check.output())
				}
			}
		})
	}
}
