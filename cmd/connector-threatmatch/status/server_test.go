package status

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
)

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

// answer is what a status says at a path of its two servers.
func answer(t *testing.T, s *Status, path string) *httptest.ResponseRecorder {
	t.Helper()
	handler := s.statusHandler(nil)
	if path == "/metrics" {
		handler = s.metricsHandler(load(t, nil).Connector, "1.2")
	}
	said := httptest.NewRecorder()
	handler.ServeHTTP(said, httptest.NewRequest(http.MethodGet, path, nil))
	return said
}

func TestScrapesDoNotPileUp(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	handler := atMost(scrapes, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-answer
	}))
	ask := func() int {
		said := httptest.NewRecorder()
		handler.ServeHTTP(said, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		return said.Code
	}
	codes := make(chan int)
	for range scrapes {
		go func() { codes <- ask() }()
		<-asked
	}
	if code := ask(); code != http.StatusServiceUnavailable {
		t.Errorf("one too many: %d", code)
	}
	close(answer)
	for range scrapes {
		if code := <-codes; code != http.StatusOK {
			t.Errorf("one of those that may ask: %d", code)
		}
	}
	go func() { <-asked }()
	if code := ask(); code != http.StatusOK {
		t.Errorf("after them: %d", code)
	}
}

func TestTheConnectorIsNotReadyBeforeThePlatformKnowsIt(t *testing.T) {
	s := New(load(t, nil), everyDataset)
	for path, want := range map[string]string{
		"/readyz": `503 {"status":"failing","state":"starting","reason":"not registered with OpenCTI yet"}`, "/livez": `200 {"status":"ok","state":"starting"}`,
	} {
		answered := answer(t, s, path)
		if got := fmt.Sprintf("%d %s", answered.Code, strings.TrimSpace(answered.Body.String())); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
	s.Joined(nil, nil, nil)
	s.now = func() time.Time { return time.Now().Add(time.Hour) }
	live := answer(t, s, "/livez")
	var said verdict
	if err := json.Unmarshal(live.Body.Bytes(), &said); err != nil || live.Code != http.StatusServiceUnavailable || said.Status != "failing" || said.Reason == "" {
		t.Errorf("%d %+v %v", live.Code, said, err)
	}
	if got := series(t, answer(t, s, "/metrics").Body.String()); got["heartbeat_age_seconds"] < 3599 || got["index_entries"] != 0 || got["last_successful_run_timestamp_seconds"] != 0 {
		t.Errorf("without prefixes, before the first run: %v", got)
	}
}

func TestHealthIsAskedOfTheConnectorThatServesIt(t *testing.T) {
	l := configtest.Listen(t, "")
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	cfg := load(t, map[string]string{"CONNECTOR_EXPOSE_METRICS": "true", "CONNECTOR_METRICS_PORT": port})
	s := New(cfg, everyDataset)
	if _, err := s.ServeMetrics(cfg.Connector, "1.2", zap.NewNop()); err == nil || !strings.Contains(err.Error(), "CONNECTOR_METRICS_PORT") {
		t.Errorf("a port that is taken: %v", err)
	}
	everywhere := ":" + port
	if _, err := s.ServeStatus(everywhere, "1.2", zap.NewNop()); err == nil || !strings.Contains(err.Error(), "CONNECTOR_STATUS_ADDRESS") {
		t.Errorf("an address that is taken: %v", err)
	}
	l.Close()
	server, err := s.ServeStatus(everywhere, "1.2", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if said, err := Ask(context.Background(), everywhere); err != nil || said != `{"status":"ok","state":"starting"}` {
		t.Errorf("%q, %v", said, err)
	}
	s.Joined(nil, nil, nil)
	s.now = func() time.Time { return time.Now().Add(time.Hour) }
	if said, err := Ask(context.Background(), everywhere); err == nil || said != "" || !strings.Contains(err.Error(), "the heartbeat has not run") {
		t.Errorf("of a connector that is unwell: %q, %v", said, err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if said, err := Ask(context.Background(), everywhere); err == nil {
		t.Errorf("the server outlives its end: %q", said)
	}
}
