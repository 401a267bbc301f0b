package files

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/opencti-connectors/threatmatch/emit/filestest"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// open returns a bucket of a server, for which change may say something else.
func open(t *testing.T, host string, port int, change func(*BucketConfig)) *Bucket {
	t.Helper()
	cfg := BucketConfig{
		Endpoint: host, Port: port, Region: filestest.Region, Bucket: filestest.Bucket, Folder: "connectors",
		AccessKey: filestest.AccessKey, SecretKey: filestest.SecretKey, Connector: connector, Days: 7,
		Transport: remote.NewTransport(remote.Way{}),
	}
	if change != nil {
		change(&cfg)
	}
	b, err := NewBucket(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// stored is what a server holds under a key, "" for nothing.
func stored(t *testing.T, s *filestest.Server, key string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.Folder, key))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(text)
}

// before puts something before a server, which answers in its place or hands on to it, and returns where that is.
func before(t *testing.T, s *filestest.Server, do func(w http.ResponseWriter, r *http.Request, server http.Handler)) (host string, port int) {
	t.Helper()
	quiet := log.New(io.Discard, "", 0) // connections are cut on purpose
	carrier := &http.Transport{}
	t.Cleanup(carrier.CloseIdleConnections)
	// The host stays that which was signed.
	server := &httputil.ReverseProxy{ErrorLog: quiet, Transport: carrier, Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", s.Address(), r.In.Host
	}}
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { do(w, r, server) }))
	front.Config.ErrorLog = quiet
	front.Start()
	t.Cleanup(front.Close)
	u, err := url.Parse(front.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err = strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return u.Hostname(), port
}

// refuse answers as servers of S3 refuse.
func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `<?xml version="1.0"?><Error><Code>`+code+`</Code><Message>for a test</Message></Error>`)
}
