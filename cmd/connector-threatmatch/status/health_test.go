package status

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// watch asks for health twice a minute, as a container's runtime does, and returns the first ailment.
func watch(s *Status, during time.Duration) (ailment string, after time.Duration) {
	started := time.Now()
	for after < during {
		time.Sleep(30 * time.Second) // only ever in a bubble
		synctest.Wait()
		after = time.Since(started)
		if ailment = s.ailment(); ailment != "" {
			return ailment, after
		}
	}
	return "", after
}

// inARun returns the status of a connector whose run has just begun, with a heartbeat that does not stop.
func inARun(t *testing.T, dial func(context.Context, string, string) (net.Conn, error)) (*Status, *rabbitmq.Publisher) {
	t.Helper()
	s := New(load(t, map[string]string{"THREATMATCH_RATE_LIMIT": "0"}), everyDataset)
	s.Joined(nil, nil, nil)
	p := rabbitmq.New(rabbitmq.Config{Exchange: "x", RoutingKey: "k", Dial: dial, Log: zap.NewNop()})
	s.RunStarted(emit.New(emit.Config{}), p, 1<<20)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-time.After(HeartbeatEvery):
				s.Beat(false)
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
		if err := p.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s, p
}

func noBroker(context.Context, string, string) (net.Conn, error) { return nil, errors.New("refused") }

func TestARunThatDoesNothingForAQuarterOfAnHourIsUnwell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := inARun(t, noBroker)
		ailment, after := watch(s, time.Hour)
		if !strings.Contains(ailment, "nothing was fetched") || after < stallLimit || after > stallLimit+2*time.Minute {
			t.Errorf("%q after %s", ailment, after)
		}
		s.Fetched(fetch.ProfilesDataset, 1)
		if ailment := s.ailment(); ailment != "" {
			t.Errorf("a page came, but: %s", ailment)
		}
		time.Sleep(stallLimit + time.Minute)
		if s.ailment() == "" {
			t.Error("it hangs again and nobody sees it")
		}
		s.RunEnded(pipeline.Report{}, nil)
		if ailment, _ := watch(s, 48*time.Hour); ailment != "" {
			t.Errorf("between two runs: %s", ailment)
		}
	})
}

func TestAnApiThatMayBeAskedSeldomIsNoStandstill(t *testing.T) {
	s := New(load(t, map[string]string{"THREATMATCH_RATE_LIMIT": "0.001"}), everyDataset)
	if s.limit != stallLimit+1000*time.Second {
		t.Errorf("the limit is %s", s.limit)
	}
	if s := New(load(t, map[string]string{"THREATMATCH_RATE_LIMIT": "1e-300"}), everyDataset); s.limit < 0 {
		t.Errorf("the limit is %s", s.limit)
	}
}

// carrier answers HTTP requests as a function says.
type carrier func(*http.Request) (*http.Response, error)

func (f carrier) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func badGateway(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusBadGateway, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("<html>")), Request: r}, nil
}

func noAnswer(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// TestWaitingForSomebodyElseIsHealthy lets each remote be away for two hours.
func TestWaitingForSomebodyElseIsHealthy(t *testing.T) {
	platform := func(t *testing.T, s *Status, answer carrier) WatchedPlatform {
		client, err := opencti.New(opencti.Config{URL: "http://opencti", Token: configtest.Token, ConnectorID: configtest.ConnectorID, HTTP: &http.Client{Transport: answer}})
		if err != nil {
			t.Fatal(err)
		}
		return s.WatchPlatform(client)
	}
	for name, wait := range map[string]func(ctx context.Context, t *testing.T, s *Status, p *rabbitmq.Publisher) error{
		"the broker": func(ctx context.Context, _ *testing.T, _ *Status, p *rabbitmq.Publisher) error {
			return p.Publish(ctx, []byte("x"), nil, nil)
		},
		"the platform, which fails": func(ctx context.Context, t *testing.T, s *Status, _ *rabbitmq.Publisher) error {
			return emit.NewBooks(platform(t, s, badGateway), "work", zap.NewNop()).Expect(ctx, 1)
		},
		"the platform, which says nothing": func(ctx context.Context, t *testing.T, s *Status, _ *rabbitmq.Publisher) error {
			return emit.NewBooks(platform(t, s, noAnswer), "work", zap.NewNop()).Expect(ctx, 1)
		},
		"the queue": func(ctx context.Context, t *testing.T, s *Status, _ *rabbitmq.Publisher) error {
			full := func(r *http.Request) (*http.Response, error) {
				const body = `{"data":{"connector":{"id":"` + configtest.ConnectorID + `","connector_queue_details":{"messages_number":9,"messages_size":9e9}}}}`
				return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
			}
			return emit.NewGauge(emit.NewBooks(platform(t, s, full), "work", zap.NewNop()), 1, func(bool, int64) {}, zap.NewNop()).Wait(ctx, 1, func() {})
		},
		"ThreatMatch": func(ctx context.Context, t *testing.T, s *Status, _ *rabbitmq.Publisher) error {
			away := func(r *http.Request) (*http.Response, error) {
				resp, err := badGateway(r)
				resp.Header.Set("Retry-After", "86400")
				return resp, err
			}
			cfg := load(t, nil).ThreatMatch
			client, err := threatmatch.New(threatmatch.Config{
				URL: cfg.URL, ClientID: cfg.ClientID, ClientSecret: cfg.ClientSecret.Reveal(),
				RatePerSecond: cfg.RateLimit, Transport: s.WatchTransport(carrier(away)), Log: zap.NewNop(),
			})
			if err != nil {
				t.Fatal(err)
			}
			s.WatchRequests(client.Requests)
			for ctx.Err() == nil {
				_, err = client.List(ctx, fetch.ProfilesDataset, time.Time{})
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := inARun(t, noBroker)
				ctx, cancel := context.WithCancel(context.Background())
				ended := make(chan error, 1)
				go func() { ended <- wait(ctx, t, s, p) }()
				if ailment, after := watch(s, 2*time.Hour); ailment != "" {
					t.Errorf("after %s: %s", after, ailment)
				}
				select {
				case err := <-ended:
					t.Errorf("it did not wait: %v", err)
				default:
					cancel()
					<-ended
				}
				cancel()
			})
		})
	}
}

func TestABrokerThatBlocksIsWaitedForInHealth(t *testing.T) {
	broker, err := rabbitmqtest.Start(rabbitmqtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	twin := rabbitmq.Connection{Host: broker.Host(), Port: broker.Port(), User: "guest", Password: "guest", VHost: "/"}
	p := rabbitmq.New(rabbitmq.Config{Connection: twin, Log: zap.NewNop()})
	defer func() { _ = p.Close(context.Background()) }()
	s := New(load(t, nil), everyDataset)
	now := time.Now()
	s.now = func() time.Time { return now }
	s.Joined(nil, nil, nil)
	s.RunStarted(emit.New(emit.Config{}), p, 1<<20)
	broker.Block("memory")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	published := make(chan error, 1)
	go func() {
		var err error
		for err == nil && ctx.Err() == nil {
			err = p.Publish(ctx, []byte("x"), nil, nil)
		}
		published <- err
	}()
	tick, limit := time.NewTicker(10*time.Millisecond), time.After(5*time.Minute)
	defer tick.Stop()
	for !p.Stats().Blocked {
		select {
		case err := <-published:
			t.Fatal(err)
		case <-limit: // it hangs
			t.Fatalf("the publisher is not blocked: %+v", p.Stats())
		case <-tick.C:
		}
	}
	for range 100 {
		now = now.Add(time.Minute)
		s.Beat(false)
		if ailment := s.ailment(); ailment != "" {
			t.Fatalf("blocked: %s", ailment)
		}
	}
	if c, _ := s.figures(); !c.broker.Blocked || !c.broker.Connected {
		t.Errorf("under way: %+v", c.broker)
	}
	s.RunEnded(pipeline.Report{}, nil)
	if c, _ := s.figures(); c.broker.Blocked || c.broker.Connected || c.broker.Unconfirmed != 0 || c.broker.Sessions != 1 || c.runs != 1 {
		t.Errorf("after the run: %+v", c.broker)
	}
	cancel()
	<-published
}

func TestAHeartbeatThatStopsIsUnwell(t *testing.T) {
	s := New(load(t, nil), everyDataset)
	now := time.Now()
	s.now = func() time.Time { return now }
	if now = now.Add(10 * time.Minute); s.ailment() != "" {
		t.Error("before the first ping there is no heartbeat to miss")
	}
	s.Joined(nil, nil, nil)
	if now = now.Add(heartbeatLimit); s.ailment() != "" {
		t.Errorf("too soon: %s", s.ailment())
	}
	if now = now.Add(time.Second); !strings.Contains(s.ailment(), "the heartbeat has not run for 2m1s") {
		t.Errorf("got %q", s.ailment())
	}
	s.Beat(false)
	if s.ailment() != "" {
		t.Error("it beats again")
	}
	s.Ending()
	if now = now.Add(time.Hour); s.ailment() != "" {
		t.Error("a connector that stops has no heartbeat")
	}
}

func TestAConnectorThatCannotJoinIsHealthyAsLongAsItTries(t *testing.T) {
	s := New(load(t, nil), everyDataset)
	now := time.Now()
	s.now = func() time.Time { return now }
	for range 100 {
		now = now.Add(time.Minute)
		s.Called()
		if s.ailment() != "" {
			t.Fatal(s.ailment())
		}
	}
	if now = now.Add(stallLimit + time.Minute); s.ailment() == "" {
		t.Error("it hangs at the start and nobody sees it")
	}
}
