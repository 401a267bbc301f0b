// Package endtoend runs the whole connector against simulated and real remotes, whatever happens to it; it holds tests
// only.
package endtoend

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// world is what the program meets in an end-to-end test: ThreatMatch, OpenCTI and RabbitMQ on real sockets, and a folder
// for its index. Each world has a connector id of its own, so that many can share one RabbitMQ node.
type world struct {
	t        *testing.T
	api      *threatmatchtest.Server
	platform *openctitest.Platform
	broker   *rabbitmqtest.Broker // nil when node is there
	node     *rabbitmqtest.Node   // nil when broker is there

	apiSite, platformSite *site
	stateDir              string
	env                   map[string]string
	secrets               []string

	mu       sync.Mutex
	programs []*program // all that were started, for the check of their output
	taken    []delivery // what was taken from the queue so far
}

// worldConfig lays out a world. Only api.Data is needed.
type worldConfig struct {
	api      threatmatchtest.Config
	platform openctitest.Config
	broker   rabbitmqtest.Config
	// realBroker uses the RabbitMQ node that all tests share. A test that stops it must not be parallel.
	realBroker bool
	// node is a RabbitMQ node of the test's own, in place of the shared one.
	node *rabbitmqtest.Node
	// lateAPI and latePlatform leave the site shut until its open is called.
	lateAPI, latePlatform bool
}

// newWorld opens a world that ends with the test, which then has checked that no secret was shown.
func newWorld(t *testing.T, cfg worldConfig) *world {
	t.Helper()
	w := &world{t: t, stateDir: filepath.Join(t.TempDir(), "state")}
	token, secret, password := "token-"+rand.Text(), "secret-"+rand.Text(), "password-"+rand.Text()
	header := "header-" + rand.Text()
	w.secrets = []string{token, secret, password, header}
	var err error
	if w.node = cfg.node; cfg.realBroker {
		w.node = sharedNode(t)
	}
	if w.node != nil {
		if cfg.platform.Broker == nil {
			cfg.platform.Broker = w.node
		}
	} else {
		cfg.broker.User, cfg.broker.Password = "connector", password
		if w.broker, err = rabbitmqtest.Start(cfg.broker); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = w.broker.Close() })
		cfg.platform.Broker = w.broker
	}
	cfg.platform.Token = token
	if w.platform, err = openctitest.New(cfg.platform); err != nil {
		t.Fatal(err)
	}
	cfg.api.ClientID, cfg.api.ClientSecret = "rig", secret
	w.api = threatmatchtest.New(cfg.api)
	bare := make(chan string, 1)
	t.Cleanup(func() {
		if len(bare) > 0 {
			t.Errorf("a request to OpenCTI came without the custom header: %s", <-bare)
		}
	})
	w.platformSite = newSite(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Rig") != header {
			select {
			case bare <- r.Method + " " + r.URL.Path:
			default:
			}
		}
		w.platform.ServeHTTP(rw, r)
	}), !cfg.latePlatform)
	w.apiSite = newSite(t, w.api, !cfg.lateAPI)
	w.env = map[string]string{
		"OPENCTI_URL": w.platformSite.url(), "OPENCTI_TOKEN": token, "OPENCTI_CUSTOM_HEADERS": "X-Rig: " + header,
		"CONNECTOR_ID": uuid.NewString(), "CONNECTOR_LOG_LEVEL": "debug", "CONNECTOR_STATE_DIR": w.stateDir,
		"CONNECTOR_RUN_AND_TERMINATE": "true", "CONNECTOR_STATUS_ADDRESS": "off", // else worlds side by side would share one
		"THREATMATCH_URL": w.apiSite.url(), "THREATMATCH_CLIENT_ID": "rig", "THREATMATCH_CLIENT_SECRET": secret,
		"THREATMATCH_IMPORT_FROM_DATE": "2000-01-01", "THREATMATCH_RATE_LIMIT": "0",
	}
	t.Cleanup(w.checkSecrets)
	return w
}

// queue is the name of the queue that OpenCTI's workers would read.
func (w *world) queue() string { return "push_" + w.env["CONNECTOR_ID"] }

// environ is the environment of the program, with changes of the form NAME=value; NAME= takes one away.
func (w *world) environ(changes ...string) []string {
	env := maps.Clone(w.env)
	for _, change := range changes {
		name, value, _ := strings.Cut(change, "=")
		env[name] = value
	}
	var list []string
	for name, value := range env {
		if value != "" {
			list = append(list, name+"="+value)
		}
	}
	slices.Sort(list)
	return list
}

// forgetIndex loses the folder of delivered objects.
func (w *world) forgetIndex() {
	w.t.Helper()
	if err := os.RemoveAll(w.stateDir); err != nil {
		w.t.Fatal(err)
	}
}

// checkSecrets looks for the secrets of the world in everything that a person could read.
func (w *world) checkSecrets() {
	var shown []string
	w.mu.Lock()
	for _, p := range w.programs {
		p.end()
		shown = append(shown, p.output())
	}
	w.mu.Unlock()
	for _, work := range w.platform.Works() {
		shown = append(shown, work.Name, work.Message)
	}
	shown = append(shown, w.platform.States()...)
	for _, text := range shown {
		for _, secret := range w.secrets {
			if i := strings.Index(text, secret); i >= 0 {
				w.t.Errorf("a secret was shown: …%s…", text[max(0, i-200):min(len(text), i+len(secret))])
			}
		}
	}
}

// lastWork is the work that was opened last; the test fails when there is none.
func (w *world) lastWork() openctitest.Work {
	w.t.Helper()
	works := w.platform.Works()
	if len(works) == 0 {
		w.t.Fatal("no work was opened")
	}
	return works[len(works)-1]
}

// site is an HTTP server on an address that outlives its being shut.
type site struct {
	t       testing.TB
	handler http.Handler
	addr    string
	mu      sync.Mutex
	shutOff func()
}

func newSite(t testing.TB, h http.Handler, open bool) *site {
	t.Helper()
	l := configtest.Listen(t, "127.0.0.1")
	s := &site{t: t, handler: h, addr: l.Addr().String()}
	t.Cleanup(s.shut)
	if open {
		s.serve(l)
	} else if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) url() string { return "http://" + s.addr }

// open lets the site answer; it was shut before.
func (s *site) open() {
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		s.t.Error(err)
		return
	}
	s.serve(l)
}

func (s *site) serve(l net.Listener) {
	server := &http.Server{Handler: s.handler, ReadHeaderTimeout: hang}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shutOff = func() {
		_ = server.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			s.t.Error(err)
		}
	}
}

// shut refuses connections and cuts those that stand.
func (s *site) shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shutOff != nil {
		s.shutOff()
		s.shutOff = nil
	}
}

// hang ends what would wait for ever; where the machine has nothing else to do, nothing takes a tenth of it.
const hang = 5 * time.Minute

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	end := time.After(hang)
	for !so() {
		select {
		case <-ticker.C:
		case <-end:
			t.Fatalf("after %s still not so: %s", hang, what)
		}
	}
}

// shared is what is made once for all end-to-end tests of the process.
var shared struct {
	mu     sync.Mutex
	dir    string
	binary string
	node   *rabbitmqtest.Node
	failed error // why the node cannot be had
}

// sharedDir is a folder for what is shared; the caller holds the lock.
func sharedDir() (string, error) {
	var err error
	if shared.dir == "" {
		shared.dir, err = os.MkdirTemp("", "connector-threatmatch-e2e-")
	}
	return shared.dir, err
}

// sharedNode is the RabbitMQ node of all tests. Without an installed RabbitMQ the test is skipped.
func sharedNode(t *testing.T) *rabbitmqtest.Node {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.node == nil && shared.failed == nil {
		dir, err := sharedDir()
		if err == nil {
			ctx, cancel := context.WithTimeout(context.Background(), hang)
			defer cancel()
			shared.node, err = rabbitmqtest.StartNode(ctx, filepath.Join(dir, "node"))
		}
		shared.failed = err
	}
	switch {
	case errors.Is(shared.failed, rabbitmqtest.ErrNotInstalled):
		t.Skip(shared.failed)
	case shared.failed != nil:
		t.Fatal(shared.failed)
	}
	return shared.node
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(sharingTests{m}) }

// sharingTests runs the tests and then ends what they shared.
type sharingTests struct{ *testing.M }

func (m sharingTests) Run() int {
	status := m.M.Run()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.node != nil {
		_ = shared.node.Close()
	}
	if shared.dir != "" {
		_ = os.RemoveAll(shared.dir)
	}
	return status
}
