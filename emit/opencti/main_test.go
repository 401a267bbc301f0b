package opencti_test

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
)

const (
	token       = "d434ce02-e58e-4cac-8b4c-42bf16748e84"
	connectorID = "0a8f3a0c-6a2e-4c58-9a43-2a8c1f0b7f11"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a server for the test and returns its URL and a counter of its requests.
func serve(t *testing.T, h http.Handler) (url string, requests *atomic.Int64) {
	t.Helper()
	requests = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, requests
}

func connect(t *testing.T, cfg opencti.Config) *opencti.Client {
	t.Helper()
	if cfg.Token == "" {
		cfg.Token = token
	}
	cfg.ConnectorID = connectorID
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Minute
	}
	c, err := opencti.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.Hasten()
	t.Cleanup(c.Close)
	return c
}

// start returns a platform, a client of it, and a counter of the client's requests.
func start(t *testing.T, cfg openctitest.Config) (*openctitest.Platform, *opencti.Client, *atomic.Int64) {
	t.Helper()
	cfg.Token = token
	p, err := openctitest.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	url, requests := serve(t, p)
	return p, connect(t, opencti.Config{URL: url}), requests
}

func register(t *testing.T, c *opencti.Client) opencti.Registered {
	t.Helper()
	r, err := c.Register(t.Context(), opencti.Registration{Name: "ThreatMatch", Scope: []string{"threatmatch"}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func ping(t *testing.T, c *opencti.Client, state string) opencti.Echo {
	t.Helper()
	e, err := c.Ping(t.Context(), state, opencti.Info{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// answering is a platform that answers everything alike.
func answering(status int, contentType, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	})
}
