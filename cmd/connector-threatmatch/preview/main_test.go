package preview

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// day is where the windows of the tests begin.
var day = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// site is a ThreatMatch on a socket, and the configuration with which a preview finds it.
type site struct {
	t   *testing.T
	api *threatmatchtest.Server
	env map[string]string
}

// newSite serves what the twin is told to, next to an OpenCTI that nobody may call.
func newSite(t *testing.T, served threatmatchtest.Config) *site {
	t.Helper()
	s := &site{t: t, api: threatmatchtest.New(served)}
	api := httptest.NewServer(s.api)
	t.Cleanup(api.Close)
	platform := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("OpenCTI was called: %s", r.URL) }))
	t.Cleanup(platform.Close)
	s.env = map[string]string{
		"OPENCTI_URL": platform.URL, "CONNECTOR_STATE_DIR": filepath.Join(t.TempDir(), "state"),
		"THREATMATCH_URL": api.URL, "THREATMATCH_CLIENT_ID": threatmatchtest.DefaultClientID,
		"THREATMATCH_CLIENT_SECRET": threatmatchtest.DefaultClientSecret, "THREATMATCH_RATE_LIMIT": "0",
		"THREATMATCH_IMPORT_FROM_DATE": day.Format(time.DateOnly),
	}
	return s
}

// set changes settings, each NAME=value.
func (s *site) set(settings ...string) {
	for _, setting := range settings {
		name, value, _ := strings.Cut(setting, "=")
		s.env[name] = value
	}
}

func (s *site) configuration() config.Config {
	s.t.Helper()
	cfg, _, err := config.Load("", false, configtest.Environ(s.env))
	if err != nil {
		s.t.Fatal(err)
	}
	return cfg
}

// defaults are the options that the command line has where nothing is said.
func defaults() Options { return Options{Items: 200, Pages: 20, Sample: 3} }

// look runs a preview and reads its JSON; the result is nil where there is none.
func (s *site) look(ctx context.Context, o Options) (*Result, error) {
	s.t.Helper()
	o.JSON = true
	var out, problems bytes.Buffer
	if err := o.Validate(); err != nil {
		s.t.Fatal(err)
	}
	err := Run(ctx, o, s.configuration(), Host{Version: "test", Stdout: &out, Stderr: &problems})
	if out.Len() == 0 {
		return nil, err
	}
	r := new(Result)
	if failed := json.Unmarshal(out.Bytes(), r); failed != nil {
		s.t.Fatalf("%v in %s", failed, out.String())
	}
	return r, err
}

// mustLook is look for a preview that finds nothing wrong.
func (s *site) mustLook(o Options) *Result {
	s.t.Helper()
	r, err := s.look(s.t.Context(), o)
	if err != nil || !r.Complete {
		s.t.Fatalf("%v, %+v", err, r)
	}
	return r
}

// of is what was found of a dataset.
func (r *Result) of(t *testing.T, name string) Dataset {
	t.Helper()
	for _, d := range r.Datasets {
		if d.Name == name {
			return d
		}
	}
	t.Fatalf("nothing is said of %s: %+v", name, r.Datasets)
	return Dataset{}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
