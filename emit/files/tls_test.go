package files

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/emit/filestest"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

func TestABucketIsReachedOverTLS(t *testing.T) {
	lender := httptest.NewUnstartedServer(nil) // of its certificate
	lender.StartTLS()
	pair, ca := lender.TLS.Certificates[0], lender.Certificate()
	lender.Close()
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	s := filestest.Start(t, filestest.TLS(write("cert.pem", "CERTIFICATE", ca.Raw), write("key.pem", "PRIVATE KEY", key)))
	trusted := x509.NewCertPool()
	trusted.AddCert(ca)
	text := document(InBucket, 1<<20)
	for name, tt := range map[string]struct {
		change func(*BucketConfig)
		want   string
	}{
		"known": {func(cfg *BucketConfig) {
			cfg.Secure, cfg.Transport = true, remote.NewTransport(remote.Way{TLS: func() *tls.Config { return &tls.Config{RootCAs: trusted} }})
		}, ""},
		"not known": {func(cfg *BucketConfig) { cfg.Secure = true }, "HTTPS_CA_CERTIFICATES"},
	} {
		err := open(t, s.Host, s.Port, tt.change).Put(t.Context(), "a.json", text...)
		switch {
		case tt.want == "" && (err != nil || stored(t, s, "connectors/a.json") != joined(text)):
			t.Errorf("%s: %v", name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAPortThatSpeaksTLSIsTold(t *testing.T) {
	host, port := before(t, &filestest.Server{}, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = io.Copy(io.Discard, r.Body)
		http.Error(w, "Client sent an HTTP request to an HTTPS server.", http.StatusBadRequest) // as Go's server does
	})
	err := open(t, host, port, nil).Put(t.Context(), "a.json", []byte("{}"))
	if err == nil || IsTemporary(err) || !strings.Contains(err.Error(), "S3_USE_SSL=true") {
		t.Error(err)
	}
}
