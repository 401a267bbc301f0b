package status

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
	"github.com/opencti-connectors/threatmatch/emit/followup"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/state"
)

// scraped is what Prometheus reads of the status.
func scraped(t *testing.T, s *Status, cfg config.Connector) string {
	t.Helper()
	answer := httptest.NewRecorder()
	s.metricsHandler(cfg, "1.2").ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if kind := answer.Header().Get("Content-Type"); answer.Code != http.StatusOK || !strings.HasPrefix(kind, "text/plain; version=0.0.4;") {
		t.Fatalf("/metrics: %d %s %s", answer.Code, kind, answer.Body)
	}
	return answer.Body.String()
}

// figuresOf is the same, read.
func figuresOf(t *testing.T, s *Status) map[string]float64 {
	t.Helper()
	return series(t, scraped(t, s, load(t, nil).Connector))
}

func expectFigures(t *testing.T, got, want map[string]float64) {
	t.Helper()
	for name, value := range want {
		if v, there := got[name]; !there || v != value {
			t.Errorf("%s is %v (%t), want %v", name, v, there, value)
		}
	}
}

func TestFailedRequestsAreToldByCause(t *testing.T) {
	s := New(load(t, nil), everyDataset)
	if met := s.failedRequests(); len(met) != 0 {
		t.Errorf("before the first: %v", met)
	}
	s.WatchAPI(func() threatmatch.Figures {
		return threatmatch.Figures{
			Failed: map[threatmatch.Cause]int64{threatmatch.RateLimited: 7, threatmatch.Timeout: 2},
			Waits:  40, Waited: 90 * time.Second,
		}
	})
	if met, want := s.failedRequests(), []snapshot.Count{{Name: "rate_limited", Count: 7}, {Name: "timeout", Count: 2}}; !slices.Equal(met, want) {
		t.Errorf("%v, want %v", met, want)
	}
	expectFigures(t, figuresOf(t, s), map[string]float64{
		"client_errors_total": 9, `api_failures_total{cause="rate_limited"}`: 7, `api_failures_total{cause="timeout"}`: 2,
		`api_failures_total{cause="tls"}`: 0, "rate_limit_waits_total": 40, "rate_limit_wait_seconds_total": 90,
	})
}

func TestTheLagIsToldOfEachDatasetOnceThePlatformHasToldIt(t *testing.T) {
	now := time.Date(2025, 4, 17, 15, 24, 0, 0, time.UTC)
	s := New(load(t, nil), []string{"alerts", "iocs"})
	s.now = func() time.Time { return now }
	if v, there := figuresOf(t, s)[`window_lag_seconds{dataset="alerts"}`]; there {
		t.Errorf("nobody knows it, and it is %v", v)
	}
	s.WatchPlaces(func(dataset string) state.Standing {
		if dataset == "alerts" {
			return state.Standing{Since: now.Add(-time.Hour), Owed: 3}
		}
		return state.Standing{Since: now.Add(-24 * time.Hour)}
	})
	expectFigures(t, figuresOf(t, s), map[string]float64{
		`window_lag_seconds{dataset="alerts"}`: 3600, `window_lag_seconds{dataset="iocs"}`: 86400,
		`owed_items{dataset="alerts"}`: 3, `owed_items{dataset="iocs"}`: 0,
	})
}

func TestThePeriodTellsWhetherARunIsLate(t *testing.T) {
	for _, tc := range []struct {
		settings map[string]string
		want     float64
	}{
		{nil, 86400},
		{map[string]string{"CONNECTOR_DURATION_PERIOD": "PT90S"}, 90},
		{map[string]string{"CONNECTOR_RUN_AND_TERMINATE": "true"}, 0},
		{map[string]string{"CONNECTOR_DURATION_PERIOD": "PT0S"}, 0},
	} {
		cfg := load(t, tc.settings)
		if got, there := series(t, scraped(t, New(cfg, everyDataset), cfg.Connector))["run_period_seconds"]; !there || got != tc.want {
			t.Errorf("%v: %v (%t), want %v", tc.settings, got, there, tc.want)
		}
	}
}

func TestOpenCTIsShareIsToldOnceItWasAsked(t *testing.T) {
	s := New(load(t, nil), everyDataset)
	expectFigures(t, figuresOf(t, s), map[string]float64{"import_expected_messages": 0, "import_processed_messages": 0})
	s.Shares(func() followup.Imports {
		return followup.Imports{Expected: 900, Done: 350, Waiting: 480, Lately: 12.5, Failed: map[string]int64{"LOCK_ERROR": 3, "": 4}}
	})
	expectFigures(t, figuresOf(t, s), map[string]float64{
		"import_expected_messages": 900, "import_processed_messages": 350, "import_failed_messages": 7, "queue_messages": 480, "import_messages_per_second": 12.5,
	})
}
