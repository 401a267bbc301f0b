package status

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// expect checks what /readyz, /livez and the metrics say of credentials: which remotes refuse them.
func expect(t *testing.T, s *Status, refusing ...Remote) {
	t.Helper()
	answers := map[string]*httptest.ResponseRecorder{}
	for _, path := range []string{"/readyz", "/livez", "/metrics"} {
		answers[path] = answer(t, s, path)
	}
	figures, said := series(t, answers["/metrics"].Body.String()), answers["/readyz"].Body.String()
	for remote, variable := range map[Remote]string{ThreatMatch: "THREATMATCH_CLIENT_SECRET", OpenCTI: "OPENCTI_TOKEN", RabbitMQ: "MQ_PASS"} {
		refuses := strings.Contains(fmt.Sprint(refusing), string(remote))
		if strings.Contains(said, variable) != refuses {
			t.Errorf("%s refuses: %t; /readyz says %s", remote, refuses, said)
		}
		name := `credentials_refused{remote="` + string(remote) + `"}`
		if got, there := figures[name]; !there || (got == 1) != refuses {
			t.Errorf("%s refuses: %t; %s is %v", remote, refuses, name, got)
		}
	}
	if ready := answers["/readyz"].Code == http.StatusOK; ready != (len(refusing) == 0) || answers["/livez"].Code != http.StatusOK {
		t.Errorf("/readyz: %d, /livez: %d", answers["/readyz"].Code, answers["/livez"].Code)
	}
}

func TestRefusedCredentialsAreNamedUntilTheyAreTaken(t *testing.T) {
	s := New(load(t, nil), everyDataset)
	s.Joined(nil, nil, nil)
	expect(t, s)
	s.Credentials(ThreatMatch, true)
	s.Credentials(OpenCTI, true)
	expect(t, s, ThreatMatch, OpenCTI)

	api := func(code int, token string) {
		r := httptest.NewRequest(http.MethodGet, "http://x/", nil)
		r.Header.Set("Authorization", token)
		resp, err := s.WatchTransport(carrier(func(*http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			w.WriteHeader(code)
			return w.Result(), nil
		})).RoundTrip(r)
		if err == nil {
			resp.Body.Close()
		}
	}
	api(http.StatusUnauthorized, "Bearer x")
	api(http.StatusBadGateway, "Bearer x")
	api(http.StatusOK, "") // a token is no proof that it is taken
	expect(t, s, ThreatMatch, OpenCTI)
	api(http.StatusOK, "Bearer x")
	expect(t, s, OpenCTI)
	s.TokenTried(errors.New("away"))
	expect(t, s, OpenCTI)
	s.TokenTried(nil)
	expect(t, s)
	api(http.StatusUnauthorized, "Bearer x") // it may have expired on its way
	s.TokenTried(&opencti.Error{Status: http.StatusBadGateway, Temporary: true})
	expect(t, s)
}

func TestAConnectorThatCannotJoinForItsTokenSaysSo(t *testing.T) {
	s := New(load(t, nil), everyDataset)
	s.TokenTried(&opencti.Error{Status: http.StatusUnauthorized})
	expect(t, s, OpenCTI)
}

// idleOutlet sends nothing.
type idleOutlet struct{}

func (idleOutlet) Stats() rabbitmq.Stats { return rabbitmq.Stats{} }

func TestAConnectorThatCanReadNothingIsNotReady(t *testing.T) {
	denied := errors.New("read item: 403 Forbidden")
	s := New(load(t, nil), everyDataset)
	s.Joined(nil, nil, nil)
	run := func(report pipeline.Report) string {
		s.RunStarted(emit.New(emit.Config{}), idleOutlet{}, 1)
		s.RunEnded(report, report.Failure())
		return s.unready()
	}
	datasets := func(profiles, alerts *pipeline.DatasetReport) pipeline.Report {
		return pipeline.Report{Datasets: map[string]*pipeline.DatasetReport{fetch.ProfilesDataset: profiles, fetch.AlertsDataset: alerts}}
	}
	for _, step := range []struct {
		name   string
		report pipeline.Report
		ready  bool
	}{
		{"all is denied", datasets(&pipeline.DatasetReport{Err: denied}, &pipeline.DatasetReport{Pages: 1, Problems: 20, FirstProblem: denied, Err: denied}), false},
		{"an item is", datasets(&pipeline.DatasetReport{Pages: 1}, &pipeline.DatasetReport{Pages: 1, Problems: 1, FirstProblem: denied}), true},
		{"all is denied once more", datasets(&pipeline.DatasetReport{Err: denied}, &pipeline.DatasetReport{Err: denied}), false},
		{"nothing was to be read", pipeline.Report{}, false},
		{"it was stopped", pipeline.Report{Err: context.Canceled, Datasets: datasets(nil, nil).Datasets}, false},
		{"one is not denied", datasets(&pipeline.DatasetReport{Err: denied}, &pipeline.DatasetReport{Pages: 1}), true},
		{"all is denied again", datasets(&pipeline.DatasetReport{Err: denied}, &pipeline.DatasetReport{Err: denied}), false},
		{"nothing is new", datasets(&pipeline.DatasetReport{Pages: 1}, &pipeline.DatasetReport{Pages: 1}), true},
	} {
		if step.report.Err != nil {
			for name := range step.report.Datasets {
				step.report.Datasets[name] = &pipeline.DatasetReport{Err: context.Canceled}
			}
		}
		if said := run(step.report); (said == "") != step.ready || !step.ready && !strings.Contains(said, "403 Forbidden") {
			t.Errorf("%s: %q", step.name, said)
		}
	}
	run(datasets(&pipeline.DatasetReport{Err: denied}, &pipeline.DatasetReport{Err: denied}))
	s.Fetched(fetch.ProfilesDataset, 1)
	if said := s.unready(); said != "" {
		t.Errorf("an item has come, but: %s", said)
	}
	s.WatchAPI(func() threatmatch.Figures { return threatmatch.Figures{Silent: true} })
	if said := s.unready(); !strings.Contains(said, "THREATMATCH_URL") {
		t.Errorf("nobody answers, but: %q", said)
	}
}

func TestATokenThatIsRevokedMakesTheConnectorUnready(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := join(t, openctitest.Config{})
		stop := j.beat()
		defer stop()
		time.Sleep(time.Minute)
		expect(t, j.status)
		j.platform.RevokeToken()
		time.Sleep(time.Minute)
		expect(t, j.status, OpenCTI)
		j.platform.AcceptToken(load(t, nil).OpenCTI.Token.Reveal())
		time.Sleep(time.Minute)
		expect(t, j.status)
	})
}

func TestABrokerThatRefusesAccessMakesTheConnectorUnready(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker, err := rabbitmqtest.Start(rabbitmqtest.Config{InMemory: true})
		if err != nil {
			t.Fatal(err)
		}
		defer broker.Close()
		good := rabbitmq.Connection{Host: broker.Host(), Port: broker.Port(), User: "guest", Password: "guest", VHost: "/"}
		bad := good
		bad.Password = "an old one"
		platform, err := openctitest.New(openctitest.Config{Broker: broker})
		if err != nil {
			t.Fatal(err)
		}
		client, err := opencti.New(opencti.Config{URL: "http://opencti", ConnectorID: "c1", HTTP: &http.Client{Transport: platform.Transport()}})
		if err != nil {
			t.Fatal(err)
		}
		registered, err := client.Register(t.Context(), opencti.Registration{Name: "ThreatMatch"})
		if err != nil {
			t.Fatal(err)
		}
		s := New(load(t, nil), everyDataset)
		s.Joined(nil, nil, nil)
		run := func(conn rabbitmq.Connection) (end func()) {
			p := rabbitmq.New(rabbitmq.Config{
				Connection: conn, Exchange: registered.Queue.Exchange, RoutingKey: registered.Queue.RoutingKey, Log: zap.NewNop(),
				Dial: func(_ context.Context, network, address string) (c net.Conn, err error) {
					return broker.Dial(network, address)
				},
			})
			s.RunStarted(emit.New(emit.Config{}), p, 1<<20)
			ctx, cancel := context.WithCancel(t.Context())
			published := make(chan error, 1)
			go func() { published <- p.Publish(ctx, []byte("x"), nil, nil) }()
			time.Sleep(time.Minute)
			return func() {
				cancel()
				<-published
				_ = p.Close(ctx)
				s.RunEnded(pipeline.Report{}, nil)
			}
		}
		end := run(bad)
		expect(t, s, RabbitMQ)
		end()
		expect(t, s, RabbitMQ)
		end = run(good)
		expect(t, s)
		end()
		expect(t, s)
	})
}
