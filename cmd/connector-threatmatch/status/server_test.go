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

func TestTheConnectorIsNotReadyBeforeThePlatformKnowsIt(t *testing.T) {
	cfg := load(t, nil)
	s := New(cfg, everyDataset)
	handler := s.handler(cfg.Connector, "1.2")
	for path, want := range map[string]string{
		"/readyz": `503 {"status":"failing","state":"starting","reason":"not registered with OpenCTI yet"}`, "/healthz": `200 {"status":"ok","state":"starting"}`,
		"/": "404 404 page not found",
	} {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
		if got := fmt.Sprintf("%d %s", answer.Code, strings.TrimSpace(answer.Body.String())); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
	s.Joined(nil, nil, nil)
	s.now = func() time.Time { return time.Now().Add(time.Hour) }
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/healthz", nil))
	var said verdict
	if err := json.Unmarshal(answer.Body.Bytes(), &said); err != nil || answer.Code != http.StatusServiceUnavailable || said.Status != "failing" || said.Reason == "" {
		t.Errorf("%d %+v %v", answer.Code, said, err)
	}
	text := httptest.NewRecorder()
	handler.ServeHTTP(text, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if got := series(t, text.Body.String()); got["heartbeat_age_seconds"] < 3599 || got["index_entries"] != 0 || got["last_successful_run_timestamp_seconds"] != 0 {
		t.Errorf("without prefixes, before the first run: %v", got)
	}
}

func TestHealthIsAskedOfTheConnectorThatServesIt(t *testing.T) {
	l := configtest.Listen(t, "")
	port := l.Addr().(*net.TCPAddr).Port
	cfg := load(t, map[string]string{"CONNECTOR_EXPOSE_METRICS": "true", "CONNECTOR_METRICS_PORT": strconv.Itoa(port)})
	s := New(cfg, everyDataset)
	if _, err := s.Serve(cfg.Connector, "1.2", zap.NewNop()); err == nil || !strings.Contains(err.Error(), "CONNECTOR_METRICS_PORT") {
		t.Errorf("a port that is taken: %v", err)
	}
	l.Close()
	server, err := s.Serve(cfg.Connector, "1.2", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if said, err := Ask(context.Background(), port); err != nil || said != `{"status":"ok","state":"starting"}` {
		t.Errorf("%q, %v", said, err)
	}
	s.Joined(nil, nil, nil)
	s.now = func() time.Time { return time.Now().Add(time.Hour) }
	if said, err := Ask(context.Background(), port); err == nil || said != "" || !strings.Contains(err.Error(), "the heartbeat has not run") {
		t.Errorf("of a connector that is unwell: %q, %v", said, err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if said, err := Ask(context.Background(), port); err == nil {
		t.Errorf("the server outlives its end: %q", said)
	}
}
