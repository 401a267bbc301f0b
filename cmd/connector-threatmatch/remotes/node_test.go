package remotes

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/pipeline/remote/remotetest"
)

// login logs in at a node as a connector with some settings would.
func login(t *testing.T, node *rabbitmqtest.Node, changes map[string]string) (rabbitmq.Connection, error) {
	t.Helper()
	changes["MQ_PORT"], changes["MQ_USE_SSL"] = strconv.Itoa(node.TLSPort()), "true"
	cfg, keys := keyring(t, changes, nil)
	conn := Broker(cfg, keys, opencti.Queue{Host: node.Host(), User: node.User(), Password: node.Password()})
	seen, err := rabbitmq.Look(t.Context(), rabbitmq.Config{Connection: conn, Dial: DialBroker(cfg, keys)}, "")
	if err == nil && seen.Product != "RabbitMQ" {
		t.Errorf("logged in to %+v", seen)
	}
	return conn, err
}

// encrypted is a key that OpenSSL has encrypted.
func encrypted(t *testing.T, key, passphrase string) string {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	cmd := exec.Command("openssl", "pkey", "-aes256", "-passout", "pass:"+passphrase)
	cmd.Stdin = strings.NewReader(key)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// RabbitMQ itself, which wants a client certificate, over each version of TLS: in the one it refuses within the handshake, in the
// other after it.
func TestARealBrokerIsReachedOverTLSOrSaysWhy(t *testing.T) {
	if testing.Short() {
		t.Skip("starting a RabbitMQ node takes seconds")
	}
	authority, clients, stranger := remotetest.NewAuthority(t, "Broker CA"), remotetest.NewAuthority(t, "Client CA"), remotetest.NewAuthority(t, "Strange CA")
	pair, late, foreign := clients.Client("connector"), clients.ClientUntil(time.Now().Add(-time.Hour), "connector of last year"), stranger.Client("a stranger")
	locked := encrypted(t, pair.Key, "open sesame")
	for _, version := range []string{"tlsv1.3", "tlsv1.2"} {
		t.Run(version, func(t *testing.T) {
			node := secureNode(t, authority.Server("127.0.0.1"), clients.PEM, true, version)
			elsewhere := secureNodeSettings{ca: authority.PEM}
			for name, tt := range map[string]struct {
				changes map[string]string
				says    []string // nothing for a login
			}{
				"all is well":            {elsewhere.with("MQ_USE_SSL_CERT", pair.Cert, "MQ_USE_SSL_KEY", pair.Key), nil},
				"an encrypted key":       {elsewhere.with("MQ_USE_SSL_CERT", pair.Cert, "MQ_USE_SSL_KEY", locked, "MQ_USE_SSL_PASSPHRASE", "open sesame"), nil},
				"unverified":             {map[string]string{"MQ_USE_SSL_CERT": pair.Cert, "MQ_USE_SSL_KEY": pair.Key, "MQ_USE_SSL_REJECT_UNAUTHORIZED": "false"}, nil},
				"no client certificate":  {elsewhere.with(), []string{"it asks for a client certificate, and is shown none", "; set MQ_USE_SSL_CERT and MQ_USE_SSL_KEY"}},
				"an expired certificate": {elsewhere.with("MQ_USE_SSL_CERT", late.Cert, "MQ_USE_SSL_KEY", late.Key), []string{"it does not take the client certificate (CN=connector of last year, issued by CN=Client CA, valid until ", "set MQ_USE_SSL_CERT and MQ_USE_SSL_KEY"}},
				"a stranger":             {elsewhere.with("MQ_USE_SSL_CERT", foreign.Cert, "MQ_USE_SSL_KEY", foreign.Key), []string{"it does not take the client certificate (CN=a stranger, issued by CN=Strange CA, valid until ", "set MQ_USE_SSL_CERT and MQ_USE_SSL_KEY"}},
				"an unknown authority": {map[string]string{"MQ_USE_SSL_CERT": pair.Cert, "MQ_USE_SSL_KEY": pair.Key},
					[]string{"its certificate (CN=127.0.0.1, issued by CN=Broker CA, valid until ", "comes from an authority that is not known here; name that authority's certificate in MQ_USE_SSL_CA"}},
				"another name": {elsewhere.with("MQ_USE_SSL_CERT", pair.Cert, "MQ_USE_SSL_KEY", pair.Key, "MQ_HOST", "localhost"), []string{"its certificate (CN=127.0.0.1,", "is for another name", "MQ_HOST"}},
			} {
				conn, err := login(t, node, tt.changes)
				d := rabbitmq.Diagnose(err, conn)
				if (err == nil) != (tt.says == nil) || err != nil && d.Kind == "" {
					t.Errorf("%s: %v, %+v", name, err, d)
				}
				for _, part := range tt.says {
					if !strings.Contains(d.String(), part) {
						t.Errorf("%s: %v is told as %q, want %q", name, err, d, part)
					}
				}
			}
		})
	}
	t.Run("expired", func(t *testing.T) {
		node := secureNode(t, authority.ServerUntil(time.Now().Add(-time.Minute), "127.0.0.1"), clients.PEM, false, "tlsv1.3")
		conn, err := login(t, node, secureNodeSettings{ca: authority.PEM}.with())
		if d := rabbitmq.Diagnose(err, conn); !strings.Contains(d.Problem, "its certificate (CN=127.0.0.1, issued by CN=Broker CA") || !strings.Contains(d.Problem, " has expired on ") {
			t.Errorf("%v is told as %q", err, d)
		}
		if _, err := login(t, node, map[string]string{"MQ_USE_SSL_REJECT_UNAUTHORIZED": "false"}); err != nil {
			t.Errorf("unverified: %v", err)
		}
	})
}

// secureNodeSettings are settings that trust a node.
type secureNodeSettings struct{ ca string }

func (s secureNodeSettings) with(pairs ...string) map[string]string {
	changes := map[string]string{"MQ_USE_SSL_CA": s.ca}
	for i := 0; i < len(pairs); i += 2 {
		changes[pairs[i]] = pairs[i+1]
	}
	return changes
}

// secureNode starts a node that speaks one version of TLS.
func secureNode(t *testing.T, shows remotetest.Pair, clients string, wantsClient bool, version string) *rabbitmqtest.Node {
	t.Helper()
	folder := t.TempDir()
	node, err := rabbitmqtest.StartNode(t.Context(), filepath.Join(folder, "node"), rabbitmqtest.WithTLS(rabbitmqtest.NodeTLS{
		Certificate: remotetest.Write(t, folder, "cert.pem", shows.Cert), Key: remotetest.Write(t, folder, "key.pem", shows.Key),
		Authority: remotetest.Write(t, folder, "ca.pem", clients), WantsClient: wantsClient,
	}), rabbitmqtest.WithConfig("ssl_options.versions.1 = "+version))
	if errors.Is(err, rabbitmqtest.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Close(); err != nil {
			t.Error(err)
		}
	})
	return node
}
