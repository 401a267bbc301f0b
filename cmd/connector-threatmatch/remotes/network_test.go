package remotes

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func load(t *testing.T, changes map[string]string) config.Config {
	t.Helper()
	cfg, _, err := config.Load("", false, configtest.Environ(changes))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestAProxyIsUsedExceptWhereItIsNotWanted(t *testing.T) {
	c := load(t, map[string]string{"HTTPS_PROXY": "http://me:secret@proxy:3128", "http_proxy": "plain:80", "NO_PROXY": "inside.example"})
	for address, want := range map[string]string{
		"https://eu.threatmatch.com/x": "http://me:secret@proxy:3128", "http://opencti:8080": "http://plain:80",
		"https://inside.example": "", "http://a.inside.example": "",
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		got, err := proxyOf(c.Network)(u)
		if err != nil || want == "" && got != nil || want != "" && (got == nil || got.String() != want) {
			t.Errorf("%s goes over %v (%v), want %q", address, got, err, want)
		}
	}
}

func TestAServerIsTrustedOnlyByWhatTheSettingsSay(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // half of the handshakes are meant to fail
	server.StartTLS()
	defer server.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	reach := func(conf *tls.Config, err error) error {
		if err != nil {
			return err
		}
		transport := &http.Transport{TLSClientConfig: conf}
		defer transport.CloseIdleConnections()
		answer, err := (&http.Client{Transport: transport}).Get(server.URL)
		if err == nil {
			err = answer.Body.Close()
		}
		return err
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, []byte(ca), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		changes map[string]string
		conf    func(config.Config) (*tls.Config, error)
		trusted bool
	}{
		{"opencti", nil, openctiTLS, false},
		{"opencti, its authority", map[string]string{"OPENCTI_SSL_VERIFY": file}, openctiTLS, true},
		{"opencti, unverified", map[string]string{"OPENCTI_SSL_VERIFY": "false"}, openctiTLS, true},
		{"opencti, every authority", map[string]string{"HTTPS_CA_CERTIFICATES": ca}, openctiTLS, true},
		{"threatmatch", map[string]string{"OPENCTI_SSL_VERIFY": "false", "MQ_USE_SSL_CA": ca}, threatmatchTLS, false},
		{"threatmatch, every authority", map[string]string{"HTTPS_CA_CERTIFICATES": ca}, threatmatchTLS, true},
		{"broker", map[string]string{"OPENCTI_SSL_VERIFY": "false"}, brokerTLS, false},
		{"broker, its authority", map[string]string{"MQ_USE_SSL_CA": ca}, brokerTLS, true},
		{"broker, unverified", map[string]string{"MQ_USE_SSL_REJECT_UNAUTHORIZED": "no"}, brokerTLS, true},
	} {
		if err := reach(tt.conf(load(t, tt.changes))); (err == nil) != tt.trusted {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestAClientCertificateIsShownToTheBrokerOnly(t *testing.T) {
	cert, key := configtest.Authority(t)
	cfg := load(t, map[string]string{"MQ_USE_SSL_CERT": cert, "MQ_USE_SSL_KEY": key})
	for name, of := range map[string]struct {
		conf func(config.Config) (*tls.Config, error)
		want int
	}{"broker": {brokerTLS, 1}, "opencti": {openctiTLS, 0}, "threatmatch": {threatmatchTLS, 0}} {
		if conf, err := of.conf(cfg); err != nil || len(conf.Certificates) != of.want {
			t.Errorf("%s: %d certificates, %v", name, len(conf.Certificates), err)
		}
	}
}
