package check_test

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/check"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// brokerPassword is RabbitMQ's.
const brokerPassword = "br0ker-nobody-may-see"

// rig is a simulated ThreatMatch, OpenCTI and RabbitMQ, and a configuration that leads to them. Whoever changes something
// of it does so before look.
type rig struct {
	t        *testing.T
	api      threatmatchtest.Config
	platform openctitest.Config
	broker   *rabbitmqtest.Broker
	set      map[string]string // of the environment, beside what leads to the twins

	// around is put around what ThreatMatch and OpenCTI answer, and secure serves over TLS, by their names.
	around map[string]func(http.Handler) http.Handler
	secure map[string]bool

	served     map[string]*httptest.Server
	openctiNow *openctitest.Platform
	apiNow     *threatmatchtest.Server
}

const (
	api      = "THREATMATCH_URL"
	platform = "OPENCTI_URL"
)

func newRig(t *testing.T) *rig {
	t.Helper()
	broker, err := rabbitmqtest.Start(rabbitmqtest.Config{User: "opencti", Password: brokerPassword})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { broker.Close() })
	return &rig{
		t: t, broker: broker, served: map[string]*httptest.Server{},
		api:      threatmatchtest.Config{Data: threatmatchtest.Generate(threatmatchtest.Shape{Profiles: 2, Alerts: 2, Indicators: 5}), ClientID: "client", ClientSecret: configtest.ClientSecret},
		platform: openctitest.Config{Token: configtest.Token, Broker: broker},
		set:      map[string]string{"CONNECTOR_STATE_DIR": filepath.Join(t.TempDir(), "state")},
		around:   map[string]func(http.Handler) http.Handler{}, secure: map[string]bool{},
	}
}

// serve starts the twins.
func (r *rig) serve() {
	r.t.Helper()
	var err error
	if r.openctiNow, err = openctitest.New(r.platform); err != nil {
		r.t.Fatal(err)
	}
	r.apiNow = threatmatchtest.New(r.api)
	for name, h := range map[string]http.Handler{api: r.apiNow, platform: r.openctiNow} {
		if wrap := r.around[name]; wrap != nil {
			h = wrap(h)
		}
		server := httptest.NewUnstartedServer(h)
		server.Config.ErrorLog = log.New(io.Discard, "", 0) // some handshakes are meant to fail
		if r.secure[name] {
			server.StartTLS()
		} else {
			server.Start()
		}
		r.t.Cleanup(server.Close)
		r.served[name] = server
	}
}

// config is the configuration that leads to the twins.
func (r *rig) config() config.Config {
	r.t.Helper()
	changes := map[string]string{api: r.served[api].URL, platform: r.served[platform].URL}
	for name, value := range r.set {
		changes[name] = value
	}
	cfg, _, err := config.Load("", false, configtest.Environ(changes))
	if err != nil {
		r.t.Fatal(err)
	}
	return cfg
}

// look serves the twins unless that was done, and checks.
func (r *rig) look() findings {
	r.t.Helper()
	if len(r.served) == 0 {
		r.serve()
	}
	found := findings{r.t, check.Run(r.t.Context(), r.config(), "test")}
	var text strings.Builder
	if err := errors.Join(check.Write(&text, found.list), check.WriteJSON(&text, found.list)); err != nil {
		r.t.Fatal(err)
	}
	for _, secret := range []string{configtest.Token, configtest.ClientSecret, brokerPassword} {
		if strings.Contains(text.String(), secret) {
			r.t.Errorf("a secret is shown in\n%s", &text)
		}
	}
	return found
}

// authority writes the certificate of a server that speaks TLS to a file.
func (r *rig) authority(server *httptest.Server) (path string) {
	r.t.Helper()
	path = filepath.Join(r.t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(path, text, 0o600); err != nil {
		r.t.Fatal(err)
	}
	return path
}

// closedPort is a port of the loopback interface on which nothing listens.
func (r *rig) closedPort() string {
	r.t.Helper()
	l := configtest.Listen(r.t, "127.0.0.1")
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// brokerIs tells the connector where the broker is, in place of OpenCTI.
func (r *rig) brokerIs(port int, more ...string) {
	r.set["MQ_HOST"], r.set["MQ_PORT"], r.set["MQ_USER"], r.set["MQ_PASS"] = "127.0.0.1", strconv.Itoa(port), "opencti", brokerPassword
	for pair := range slices.Chunk(more, 2) {
		r.set[pair[0]] = pair[1]
	}
}

// secureBroker puts TLS in front of the broker and returns its port.
func (r *rig) secureBroker() int {
	r.t.Helper()
	lender := httptest.NewTLSServer(http.NotFoundHandler()) // of its certificate
	defer lender.Close()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", lender.TLS.Clone())
	if err != nil {
		r.t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { r.pass(near) })
		}
	})
	r.t.Cleanup(func() {
		listener.Close()
		r.broker.Close()
		running.Wait()
	})
	return listener.Addr().(*net.TCPAddr).Port
}

// pass carries a connection to the broker, once the client has shown that it speaks TLS.
func (r *rig) pass(near net.Conn) {
	defer near.Close()
	if near.(*tls.Conn).HandshakeContext(r.t.Context()) != nil {
		return
	}
	far, err := net.Dial("tcp", net.JoinHostPort(r.broker.Host(), strconv.Itoa(r.broker.Port())))
	if err != nil {
		return
	}
	defer far.Close()
	go func() {
		_, _ = io.Copy(far, near)
		far.Close()
	}()
	_, _ = io.Copy(near, far)
}

// findings are what a look has found.
type findings struct {
	t    *testing.T
	list []check.Finding
}

// of returns a finding, written as "part, check".
func (f findings) of(name string) check.Finding {
	f.t.Helper()
	for _, one := range f.list {
		if one.Part+", "+one.Check == name {
			return one
		}
	}
	f.t.Fatalf("nothing was found of %s in\n%s", name, f)
	return check.Finding{}
}

func (f findings) String() string {
	var b strings.Builder
	_ = check.Write(&b, f.list)
	return b.String()
}
