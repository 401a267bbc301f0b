package endtoend

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/connector"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// freePort returns a port that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l := configtest.Listen(t, "")
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// ask gets a page of a connector's server.
func ask(port int, path string) (status int, body string, err error) {
	client := http.Client{Timeout: hang, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// series reads the text form of metrics.
func series(t *testing.T, text string) map[string]float64 {
	t.Helper()
	values := map[string]float64{}
	for line := range strings.Lines(text) {
		name, value, found := strings.Cut(strings.TrimSpace(line), " ")
		if !found || strings.HasPrefix(line, "#") {
			continue
		}
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		values[name] = number
	}
	return values
}

// serving is a connector that runs by its schedule in this process and serves its metrics.
type serving struct {
	*world
	port  int // of the metrics
	page  int // of the status
	stop  context.CancelFunc
	ended chan error
}

func serve(t *testing.T, api threatmatchtest.Config, prepare ...func(*world)) *serving {
	t.Helper()
	s := &serving{world: newWorld(t, worldConfig{api: api}), port: freePort(t), page: freePort(t), ended: make(chan error, 1)}
	for _, f := range prepare {
		f(s.world)
	}
	for name, value := range map[string]string{
		"CONNECTOR_RUN_AND_TERMINATE": "false", "CONNECTOR_EXPOSE_METRICS": "true", "CONNECTOR_METRICS_PORT": strconv.Itoa(s.port),
		"CONNECTOR_STATUS_ADDRESS": fmt.Sprintf("127.0.0.1:%d", s.page), "CONNECTOR_METRICS_NAMESPACE": "cti", "CONNECTOR_METRICS_SUBSYSTEM": "tm",
	} {
		s.env[name] = value
	}
	cfg, _, err := config.Load("", false, s.environ())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go func() { s.ended <- connector.Run(ctx, cfg, zap.NewNop(), connector.Options{Version: "test"}) }()
	t.Cleanup(cancel)
	return s
}

// health runs the command that asks for health to its end.
func (s *serving) health() (status int, said string) {
	p := s.startCommand([]string{"health"})
	return p.wait(), p.output()
}

// await asks again and again until the answer is the wanted one.
func (s *serving) await(t *testing.T, path string, good func(status int, body string) bool) string {
	t.Helper()
	var answer string
	eventually(t, path+" says what is wanted", func() bool {
		port := s.page
		if path == "/metrics" {
			port = s.port
		}
		status, body, err := ask(port, path)
		select {
		case err := <-s.ended:
			t.Fatalf("the connector has ended: %v", err)
		default:
		}
		answer = body
		return err == nil && good(status, body)
	})
	return answer
}

func TestTheMetricsSayWhatARunDid(t *testing.T) {
	api := threatmatchtest.Config{Data: threatmatchtest.Generate(threatmatchtest.Shape{Seed: 1, Profiles: 6, Alerts: 6, Indicators: 120})}
	began := time.Now().Add(-time.Minute) // the API's clock counts, and some seconds less
	s := serve(t, api)
	text := s.await(t, "/metrics", func(_ int, body string) bool {
		return strings.Contains(body, "\ncti_tm_runs_total 1\n") && strings.Contains(body, "\ncti_tm_state{state=\"idle\"} 1\n") &&
			strings.Contains(body, "\ncti_tm_channel_capacity_items{stage=\"emit\"} 0\n") // which may have been looked at before
	})
	got, messages := series(t, text), float64(s.broker.Published())
	for name, want := range map[string]float64{
		"bundles_sent_total": messages, "records_sent_total": messages, `objects_total{outcome="confirmed"}`: messages,
		"runs_total": 1, "errors_total": 0, "ping_api_errors_total": 0, "client_errors_total": 0,
		`state{state="running"}`: 0, `state{state="stopped"}`: 0,
		`items_fetched_total{dataset="profiles"}`: 6, `items_fetched_total{dataset="alerts"}`: 6, `items_fetched_total{dataset="iocs"}`: 120,
		`stage_items_total{stage="fetch"}`: 132, `stage_items_total{stage="transform"}`: 132, `stage_items_total{stage="emit"}`: 132,
		"confirm_latency_seconds_count": messages, `confirm_latency_seconds_bucket{le="+Inf"}`: messages, "run_period_seconds": 86400,
		`owed_items{dataset="profiles"}`: 0, `channel_capacity_items{stage="emit"}`: 0,
		`rejected_total{dataset="profiles"}`: 0, `failed_parts_total{dataset="iocs"}`: 0,
		"api_requests_total": float64(len(s.api.Calls())), "queue_threshold_bytes": 500e6, "buffering": 0,
		"imports_failed_total": 0, "imports_sent_again_total": 0, "open_works": 1, "unconfirmed_messages": 0, "parked_objects": 0, "broker_connections_total": 1, "broker_connected": 0,
	} {
		if value, there := got["cti_tm_"+name]; !there || value != want {
			t.Errorf("%s is %v (%t), want %v", name, value, there, want)
		}
	}
	for _, name := range []string{"ping_api_total", "last_successful_run_timestamp_seconds", "index_entries", `objects_total{outcome="repeated"}`} {
		if got["cti_tm_"+name] <= 0 {
			t.Errorf("%s is %v", name, got["cti_tm_"+name])
		}
	}
	for _, name := range []string{"queue_bytes", "heartbeat_age_seconds", "index_bytes", "waiting_objects"} {
		if _, there := got["cti_tm_"+name]; !there {
			t.Errorf("%s is missing", name)
		}
	}
	for _, dataset := range []string{"profiles", "iocs"} {
		if lag, there := got[`cti_tm_window_lag_seconds{dataset="`+dataset+`"}`]; !there || lag < 0 || lag > time.Since(began).Seconds() {
			t.Errorf("%s lags by %vs (%t)", dataset, lag, there)
		}
	}
	if got["process_resident_memory_bytes"] == 0 || got["go_goroutines"] == 0 {
		t.Error("the process says nothing of itself")
	}
	if at := time.UnixMilli(int64(got["cti_tm_last_successful_run_timestamp_seconds"] * 1000)); at.Before(began) || at.After(time.Now()) {
		t.Errorf("the last run was at %s, the program started a minute after %s", at, began)
	}
	for _, path := range []string{"/livez", "/readyz"} {
		if status, body, err := ask(s.page, path); err != nil || status != http.StatusOK || body != `{"status":"ok","state":"idle"}`+"\n" {
			t.Errorf("%s: %d %s %v", path, status, body, err)
		}
	}
	if status, said := s.health(); status != exitOK || !strings.Contains(said, `"ok"`) {
		t.Errorf("health: %d %s", status, said)
	}
	s.stop()
	if err := <-s.ended; err != nil {
		t.Errorf("the connector ended with %v", err)
	}
	if _, _, err := ask(s.page, "/livez"); err == nil {
		t.Error("the server outlives the connector")
	}
	if status, said := s.health(); status != exitRunFailed || !strings.Contains(said, "refused") {
		t.Errorf("health of nobody: %d %s", status, said)
	}
}

func TestAConnectorWhoseCredentialsAreRefusedIsNotReady(t *testing.T) {
	s := serve(t, threatmatchtest.Config{}, func(w *world) {
		w.platform.RevokeToken()
		w.api.Fault(threatmatchtest.Rule{Path: "/api/developers-platform/token", Do: threatmatchtest.Status(http.StatusUnauthorized)})
	})
	unready := func(remote, variable string) {
		s.await(t, "/readyz", func(status int, body string) bool {
			return status == http.StatusServiceUnavailable && strings.Contains(body, variable)
		})
		s.await(t, "/metrics", func(_ int, body string) bool {
			return strings.Contains(body, "\ncti_tm_credentials_refused{remote=\""+remote+"\"} 1\n")
		})
		if status, body, err := ask(s.page, "/livez"); err != nil || status != http.StatusOK {
			t.Errorf("/livez: %d %s %v", status, body, err)
		}
	}
	unready("opencti", "OPENCTI_TOKEN")
	s.platform.AcceptToken(s.env["OPENCTI_TOKEN"])
	unready("threatmatch", "THREATMATCH_CLIENT_SECRET")
	if _, body, _ := ask(s.page, "/readyz"); strings.Contains(body, "OPENCTI_TOKEN") {
		t.Errorf("/readyz: %s", body)
	}
	s.stop()
	<-s.ended
}
