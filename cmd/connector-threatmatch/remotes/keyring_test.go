package remotes

import (
	"crypto/tls"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
	"github.com/opencti-connectors/threatmatch/pipeline/remote/remotetest"
)

// guarded is a server over TLS, whose certificate can be changed, and that keeps whom it was shown.
type guarded struct {
	*httptest.Server
	pair  atomic.Pointer[tls.Certificate]
	shown atomic.Value // the common name
}

func guard(t *testing.T, pair remotetest.Pair) *guarded {
	t.Helper()
	g := &guarded{Server: httptest.NewUnstartedServer(http.NotFoundHandler())}
	g.shows(t, pair)
	g.Config.ErrorLog = log.New(io.Discard, "", 0) // some handshakes are meant to fail
	g.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{Certificates: []tls.Certificate{*g.pair.Load()}, ClientAuth: tls.RequestClientCert, VerifyConnection: g.note}, nil
	}}
	g.StartTLS()
	t.Cleanup(g.Close)
	return g
}

// note keeps whom the server was shown.
func (g *guarded) note(state tls.ConnectionState) error {
	name := ""
	if len(state.PeerCertificates) > 0 {
		name = state.PeerCertificates[0].Subject.CommonName
	}
	g.shown.Store(name)
	return nil
}

func (g *guarded) shows(t *testing.T, pair remotetest.Pair) {
	certificate := pair.TLS(t)
	g.pair.Store(&certificate)
}

// reached opens a connection to the server on a way.
func (g *guarded) reached(t *testing.T, way remote.Way) error {
	t.Helper()
	carrier := remote.NewTransport(way)
	defer carrier.CloseIdleConnections()
	answer, err := (&http.Client{Transport: carrier}).Get(g.URL)
	if err == nil {
		err = answer.Body.Close()
	}
	return err
}

// ways are those to the remotes.
var ways = map[string]func(config.Config, *Keyring) remote.Way{
	"threatmatch": WayToThreatMatch, "opencti": WayToOpenCTI, "broker": WayToBroker, "s3": WayToS3,
}

func keyring(t *testing.T, changes map[string]string, log *zap.Logger) (config.Config, *Keyring) {
	t.Helper()
	cfg := load(t, changes)
	keys, err := NewKeyring(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	return cfg, keys
}

func TestAServerIsTrustedOnlyByWhatTheSettingsSay(t *testing.T) {
	authority := remotetest.NewAuthority(t, "Private CA")
	server, ca := guard(t, authority.Server("127.0.0.1")), authority.PEM
	file := remotetest.Write(t, t.TempDir(), "ca.pem", ca)
	for _, tt := range []struct {
		name    string
		changes map[string]string
		trusted bool
	}{
		{"opencti", nil, false},
		{"opencti", map[string]string{"OPENCTI_SSL_VERIFY": file}, true},
		{"opencti", map[string]string{"OPENCTI_SSL_VERIFY": "false"}, true},
		{"opencti", map[string]string{"HTTPS_CA_CERTIFICATES": ca}, true},
		{"threatmatch", map[string]string{"OPENCTI_SSL_VERIFY": "false", "MQ_USE_SSL_CA": ca, "MQ_USE_SSL_REJECT_UNAUTHORIZED": "no"}, false},
		{"threatmatch", map[string]string{"OPENCTI_SSL_VERIFY": file}, false},
		{"threatmatch", map[string]string{"HTTPS_CA_CERTIFICATES": ca}, true},
		{"threatmatch", map[string]string{"HTTPS_CA_CERTIFICATES": file}, true},
		{"s3", map[string]string{"OPENCTI_SSL_VERIFY": "false", "MQ_USE_SSL_CA": ca, "MQ_USE_SSL_REJECT_UNAUTHORIZED": "no"}, false},
		{"s3", map[string]string{"HTTPS_CA_CERTIFICATES": ca}, true},
		{"broker", map[string]string{"OPENCTI_SSL_VERIFY": "false"}, false},
		{"broker", map[string]string{"MQ_USE_SSL_CA": ca}, true},
		{"broker", map[string]string{"MQ_USE_SSL_CA": file}, true},
		{"broker", map[string]string{"MQ_USE_SSL_REJECT_UNAUTHORIZED": "no"}, true},
	} {
		if err := server.reached(t, ways[tt.name](keyring(t, tt.changes, nil))); (err == nil) != tt.trusted {
			t.Errorf("%s with %v: %v", tt.name, tt.changes, err)
		}
	}
}

// Whoever stands in for a proxy would see its password, and all that is not encrypted: no switch turns its verification off.
func TestAProxyIsVerifiedWhateverIsSwitchedOff(t *testing.T) {
	proxy := guard(t, remotetest.NewAuthority(t, "Strange CA").Server("127.0.0.1"))
	changes := map[string]string{
		"OPENCTI_SSL_VERIFY": "false", "MQ_USE_SSL_REJECT_UNAUTHORIZED": "false",
		"HTTP_PROXY": proxy.URL, "HTTPS_PROXY": proxy.URL, "MQ_PROXY": proxy.URL,
	}
	for name, way := range ways {
		for _, behind := range []string{"http://system.test", "https://system.test"} {
			system := guarded{Server: &httptest.Server{URL: behind}}
			err := system.reached(t, way(keyring(t, changes, nil)))
			if kind := remote.Diagnose(err, remote.Settings{}).Kind; kind != "proxy authority" {
				t.Errorf("%s, %s: %q, %v", name, behind, kind, err)
			}
		}
	}
}

func TestAClientCertificateIsShownToTheBrokerOnly(t *testing.T) {
	authority := remotetest.NewAuthority(t, "Private CA")
	server, pair := guard(t, authority.Server("127.0.0.1")), authority.Client("connector")
	changes := map[string]string{"MQ_USE_SSL_CERT": pair.Cert, "MQ_USE_SSL_KEY": pair.Key, "HTTPS_CA_CERTIFICATES": authority.PEM}
	for name, want := range map[string]string{"broker": "connector", "opencti": "", "threatmatch": "", "s3": ""} {
		if err := server.reached(t, ways[name](keyring(t, changes, nil))); err != nil || server.shown.Load() != want {
			t.Errorf("%s: shown %q, %v", name, server.shown.Load(), err)
		}
	}
}

// An authority is replaced while the connector runs: what its file holds counts from the next connection on.
func TestAnAuthorityThatChangesCountsFromTheNextConnectionOn(t *testing.T) {
	before, after := remotetest.NewAuthority(t, "Old CA"), remotetest.NewAuthority(t, "New CA")
	for setting, reaches := range map[string][]string{
		"HTTPS_CA_CERTIFICATES": {"threatmatch", "opencti", "broker"}, "OPENCTI_SSL_VERIFY": {"opencti"}, "MQ_USE_SSL_CA": {"broker"},
	} {
		server := guard(t, before.Server("127.0.0.1"))
		folder := t.TempDir()
		file := remotetest.Write(t, folder, "ca.pem", before.PEM)
		cfg, keys := keyring(t, map[string]string{setting: file}, nil)
		all := map[string]remote.Way{}
		for _, name := range reaches {
			all[name] = ways[name](cfg, keys)
		}
		step := func(what string, trusted bool) {
			for name, way := range all {
				if err := server.reached(t, way); (err == nil) != trusted {
					t.Errorf("%s, %s, %s: %v", setting, name, what, err)
				}
			}
		}
		step("at first", true)
		server.shows(t, after.Server("127.0.0.1"))
		step("with the old authority only", false)
		remotetest.Write(t, folder, "ca.pem", after.PEM)
		step("with the new one", true)
	}
}

// A file that is damaged, or gone, counts as it was, and is told of once.
func TestAFileThatCannotBeReadAgainKeepsItsLastContent(t *testing.T) {
	for _, key := range []string{"MQ_USE_SSL_KEY", "MQ_USE_SSL_KEY_FILE"} {
		t.Run(key, func(t *testing.T) { isReadAgain(t, key) })
	}
}

func isReadAgain(t *testing.T, key string) {
	t.Helper()
	authority := remotetest.NewAuthority(t, "Private CA")
	server, folder := guard(t, authority.Server("127.0.0.1")), t.TempDir()
	pair := authority.Client("connector")
	files := map[string]string{
		"HTTPS_CA_CERTIFICATES": remotetest.Write(t, folder, "ca.pem", authority.PEM),
		"MQ_USE_SSL_CERT":       remotetest.Write(t, folder, "cert.pem", pair.Cert), key: remotetest.Write(t, folder, "key.pem", pair.Key),
	}
	core, lines := observer.New(zap.InfoLevel)
	cfg, keys := keyring(t, maps.Clone(files), zap.New(core))
	way := WayToBroker(cfg, keys)
	reach := func(what, want string) {
		for range 2 {
			if err := server.reached(t, way); err != nil || server.shown.Load() != want {
				t.Errorf("%s: shown %q, %v", what, server.shown.Load(), err)
			}
		}
	}
	reach("at first", "connector")
	remotetest.Write(t, folder, "ca.pem", "no PEM")
	reach("with a damaged authority", "connector")
	renewed := authority.Client("renewed")
	remotetest.Write(t, folder, "cert.pem", renewed.Cert)
	reach("with a certificate whose key is yet to come", "connector")
	remotetest.Write(t, folder, "key.pem", renewed.Key)
	remotetest.Write(t, folder, "ca.pem", authority.PEM)
	reach("with all of it", "renewed")

	var told []string
	for _, line := range lines.All() {
		told = append(told, line.Message)
		if strings.Contains(line.Message, filepath.Base(folder)) {
			t.Errorf("%s", line.Message)
		}
	}
	want := []string{"HTTPS_CA_CERTIFICATES", "MQ_USE_SSL_CERT and MQ_USE_SSL_KEY", "can be read again", "can be read again"}
	if len(told) != len(want) {
		t.Fatalf("told %q", told)
	}
	for i, part := range want {
		if !strings.Contains(told[i], part) {
			t.Errorf("told %q, want %q", told[i], part)
		}
	}
}
