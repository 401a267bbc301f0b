package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

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
		got, err := c.Network.proxy()(u)
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
	file := writeFile(t, ca)
	for _, tt := range []struct {
		name    string
		changes map[string]string
		conf    func(Config) (*tls.Config, error)
		trusted bool
	}{
		{"opencti", nil, Config.openctiTLS, false},
		{"opencti, its authority", map[string]string{"OPENCTI_SSL_VERIFY": file}, Config.openctiTLS, true},
		{"opencti, unverified", map[string]string{"OPENCTI_SSL_VERIFY": "false"}, Config.openctiTLS, true},
		{"opencti, every authority", map[string]string{"HTTPS_CA_CERTIFICATES": ca}, Config.openctiTLS, true},
		{"threatmatch", map[string]string{"OPENCTI_SSL_VERIFY": "false", "MQ_USE_SSL_CA": ca}, Config.threatmatchTLS, false},
		{"threatmatch, every authority", map[string]string{"HTTPS_CA_CERTIFICATES": ca}, Config.threatmatchTLS, true},
		{"broker", map[string]string{"OPENCTI_SSL_VERIFY": "false"}, Config.brokerTLS, false},
		{"broker, its authority", map[string]string{"MQ_USE_SSL_CA": ca}, Config.brokerTLS, true},
		{"broker, unverified", map[string]string{"MQ_USE_SSL_REJECT_UNAUTHORIZED": "no"}, Config.brokerTLS, true},
	} {
		if err := reach(tt.conf(load(t, tt.changes))); (err == nil) != tt.trusted {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestAnEncryptedKeyIsOpenedByItsPassphrase(t *testing.T) {
	cert, key := authority(t)
	block, _ := pem.Decode([]byte(key))
	locked, err := x509.EncryptPEMBlock(strings.NewReader(strings.Repeat("salt", 16)), "PRIVATE KEY", block.Bytes, []byte(aSecret), x509.PEMCipherAES256) //lint:ignore SA1019 operators have such keys
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{"MQ_USE_SSL_CERT": cert, "MQ_USE_SSL_KEY": string(pem.EncodeToMemory(locked)), "MQ_USE_SSL_PASSPHRASE": aSecret}
	if _, err := load(t, settings).brokerTLS(); err != nil {
		t.Error(err)
	}
	settings["MQ_USE_SSL_PASSPHRASE"] = aSecret + "x"
	if _, _, err := loadConfig("", false, environ(settings)); err == nil || strings.Contains(err.Error(), aSecret) {
		t.Errorf("a wrong passphrase: %v", err)
	}
	settings["MQ_USE_SSL_PASSPHRASE"] = ""
	if _, _, err := loadConfig("", false, environ(settings)); err == nil || !strings.Contains(err.Error(), "the key is encrypted; set MQ_USE_SSL_PASSPHRASE") {
		t.Errorf("no passphrase: %v", err)
	}
}
