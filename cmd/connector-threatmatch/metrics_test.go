package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// freePort returns a port that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// ask gets a page of a connector's server.
func ask(port int, path string) (status int, body string, err error) {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
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

// serving is a connector that runs by its schedule against the twins.
type serving struct {
	port  int
	twins *twins
	env   []string
	stop  context.CancelFunc
	ended chan error
}

func serve(t *testing.T, api threatmatchtest.Config) *serving {
	t.Helper()
	s := &serving{port: freePort(t), ended: make(chan error, 1)}
	var err error
	if s.twins, err = startTwins(api, "", false); err != nil {
		t.Fatal(err)
	}
	s.twins.set["CONNECTOR_RUN_AND_TERMINATE"] = "false"
	s.twins.set["CONNECTOR_EXPOSE_METRICS"] = "true"
	s.twins.set["CONNECTOR_METRICS_PORT"] = strconv.Itoa(s.port)
	s.twins.set["CONNECTOR_METRICS_NAMESPACE"] = "cti"
	s.twins.set["CONNECTOR_METRICS_SUBSYSTEM"] = "tm"
	s.env = s.twins.environ(nil)
	cfg, _, err := loadConfig("", false, s.env)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go func() { s.ended <- runConnector(ctx, cfg, zap.NewNop(), runOptions{}) }()
	t.Cleanup(func() {
		cancel()
		if err := s.twins.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// await asks again and again until the answer is the wanted one.
func (s *serving) await(t *testing.T, path string, good func(status int, body string) bool) string {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		status, body, err := ask(s.port, path)
		if err == nil && good(status, body) {
			return body
		}
		select {
		case err := <-s.ended:
			t.Fatalf("the connector has ended: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %d %s %v", path, status, body, err)
		}
	}
}

func TestTheMetricsSayWhatARunDid(t *testing.T) {
	api := threatmatchtest.Config{Data: threatmatchtest.Generate(threatmatchtest.Shape{Seed: 1, Profiles: 6, Alerts: 6, Indicators: 120})}
	s := serve(t, api)
	text := s.await(t, "/metrics", func(_ int, body string) bool {
		return strings.Contains(body, "\ncti_tm_runs_total 1\n") && strings.Contains(body, "\ncti_tm_state{state=\"idle\"} 1\n")
	})
	got, messages := series(t, text), float64(s.twins.arrived.total)
	for name, want := range map[string]float64{
		"bundles_sent_total": messages, "records_sent_total": messages, `objects_total{outcome="confirmed"}`: messages,
		"runs_total": 1, "errors_total": 0, "ping_api_errors_total": 0, "client_errors_total": 0,
		`state{state="running"}`: 0, `state{state="stopped"}`: 0,
		`items_fetched_total{dataset="profiles"}`: 6, `items_fetched_total{dataset="alerts"}`: 6, `items_fetched_total{dataset="iocs"}`: 120,
		`rejected_total{dataset="profiles"}`: 0, `failed_parts_total{dataset="iocs"}`: 0,
		"api_requests_total": float64(len(s.twins.api.Calls())), "queue_threshold_bytes": 500e6, "buffering": 0,
		"unconfirmed_messages": 0, "parked_objects": 0, "broker_connections_total": 1, "broker_connected": 0,
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
	if got["process_resident_memory_bytes"] == 0 || got["go_goroutines"] == 0 {
		t.Error("the process says nothing of itself")
	}
	if age := time.Since(time.UnixMilli(int64(got["cti_tm_last_successful_run_timestamp_seconds"] * 1000))); age < 0 || age > time.Minute {
		t.Errorf("the last run is %s old", age)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if status, body, err := ask(s.port, path); err != nil || status != http.StatusOK || body != `{"status":"ok","state":"idle"}`+"\n" {
			t.Errorf("%s: %d %s %v", path, status, body, err)
		}
	}
	if status, out, problems := run(t, s.env, "health"); status != 0 || !strings.Contains(out, `"ok"`) {
		t.Errorf("health: %d %s %s", status, out, problems)
	}
	s.stop()
	if err := <-s.ended; err != nil {
		t.Errorf("the connector ended with %v", err)
	}
	if _, _, err := ask(s.port, "/healthz"); err == nil {
		t.Error("the server outlives the connector")
	}
	if status, out, problems := run(t, s.env, "health"); status != 1 || out != "" || !strings.Contains(problems, "refused") {
		t.Errorf("health of nobody: %d %s %s", status, out, problems)
	}
}

func TestTheConnectorIsNotReadyBeforeThePlatformKnowsIt(t *testing.T) {
	c, err := newConnector(load(t, nil), zap.NewNop(), runOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/readyz": `503 {"status":"failing","state":"starting","reason":"not registered with OpenCTI yet"}`, "/healthz": `200 {"status":"ok","state":"starting"}`,
		"/": "404 404 page not found",
	} {
		answer := httptest.NewRecorder()
		c.statusHandler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
		if got := fmt.Sprintf("%d %s", answer.Code, strings.TrimSpace(answer.Body.String())); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
	c.status.joined(nil, nil)
	c.status.now = func() time.Time { return time.Now().Add(time.Hour) }
	answer := httptest.NewRecorder()
	c.statusHandler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/healthz", nil))
	var said verdict
	if err := json.Unmarshal(answer.Body.Bytes(), &said); err != nil || answer.Code != http.StatusServiceUnavailable || said.Status != "failing" || said.Reason == "" {
		t.Errorf("%d %+v %v", answer.Code, said, err)
	}
	text := httptest.NewRecorder()
	c.statusHandler().ServeHTTP(text, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if got := series(t, text.Body.String()); got["heartbeat_age_seconds"] < 3599 || got["index_entries"] != 0 || got["last_successful_run_timestamp_seconds"] != 0 {
		t.Errorf("without prefixes, before the first run: %v", got)
	}
}

func TestATakenPortEndsTheConnectorAtItsStart(t *testing.T) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	status, _, problems := run(t, environ(map[string]string{"CONNECTOR_EXPOSE_METRICS": "true", "CONNECTOR_METRICS_PORT": port}))
	if status != 1 || !strings.Contains(problems, "serve metrics on port "+port) || !strings.Contains(problems, "CONNECTOR_METRICS_PORT") {
		t.Errorf("status %d: %s", status, problems)
	}
}

func TestHealthIsNotAskedForWhereMetricsAreOff(t *testing.T) {
	for name, env := range map[string][]string{"in a good configuration": environ(nil), "in one that is given elsewhere": nil, "in a broken one": {"OPENCTI_URL=nowhere"}} {
		if status, out, problems := run(t, env, "health"); status != 0 || !strings.Contains(out, "CONNECTOR_EXPOSE_METRICS") {
			t.Errorf("%s: status %d, %s%s", name, status, out, problems)
		}
	}
}

func TestTheHealthCommandFailsWithTheReason(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			writeVerdict(w, running, "it hangs")
		}
	}))
	defer server.Close()
	port := strconv.Itoa(server.Listener.Addr().(*net.TCPAddr).Port)
	env := append(environ(map[string]string{"CONNECTOR_EXPOSE_METRICS": "true", "CONNECTOR_METRICS_PORT": port}), "HTTP_PROXY=http://127.0.0.1:1")
	if status, _, problems := run(t, env, "health"); status != 1 || !strings.Contains(problems, "it hangs") {
		t.Errorf("status %d: %s", status, problems)
	}
}

func TestTheDashboardShowsMetricsThatThereAre(t *testing.T) {
	text, err := os.ReadFile("../../deploy/grafana/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(text) {
		t.Fatal("the dashboard is no JSON")
	}
	c, err := newConnector(load(t, nil), zap.NewNop(), runOptions{})
	if err != nil {
		t.Fatal(err)
	}
	families, err := c.newRegistry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, f := range families {
		have[f.GetName()] = true
	}
	shown := regexp.MustCompile(`__name__=\\"\$\{prefix\}(\w+)\\"`).FindAllStringSubmatch(string(text), -1)
	for _, m := range shown {
		if !have[m[1]] {
			t.Errorf("%s is shown and not served", m[1])
		}
	}
	if len(shown) < 15 {
		t.Errorf("only %d metrics are shown", len(shown))
	}
}
