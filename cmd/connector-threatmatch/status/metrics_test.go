package status

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/opencti-connectors/threatmatch/state"
)

var update = flag.Bool("update", false, "write the generated table anew")

const (
	readme    = "../../../README.md"
	dashboard = "../../../deploy/grafana/dashboard.json"
	alerts    = "../../../deploy/prometheus/alerts.yml"
)

// whole is the status of a connector that has something to say of everything.
func whole(t *testing.T) *Status {
	t.Helper()
	s := New(load(t, nil), everyDataset)
	s.WatchPlaces(func(string) state.Standing { return state.Standing{Since: s.now()} })
	return s
}

// families are the connector's own metrics, by name.
func families(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	own, err := parser.TextToMetricFamilies(strings.NewReader(scraped(t, whole(t), load(t, nil).Connector)))
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(own, func(name string, _ *dto.MetricFamily) bool {
		return strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_")
	})
	return own
}

func text(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTheMetricsKeepToPrometheusConventions(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (Debian, Ubuntu: apt-get install prometheus)")
	}
	cmd := exec.Command(promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(scraped(t, whole(t), load(t, nil).Connector))
	if said, err := cmd.CombinedOutput(); err != nil || len(said) > 0 {
		t.Errorf("promtool: %v\n%s", err, said)
	}
}

func TestNoFigureIsToldTwice(t *testing.T) {
	met := map[string]bool{}
	for line := range strings.Lines(scraped(t, whole(t), load(t, nil).Connector)) {
		name, _, _ := strings.Cut(line, "} ") // of a series with labels
		if !strings.HasPrefix(line, "#") && met[name] {
			t.Errorf("twice: %s", line)
		}
		met[name] = true
	}
}

func TestMetricsHaveThePrefixThatIsSet(t *testing.T) {
	cfg := load(t, map[string]string{"CONNECTOR_METRICS_NAMESPACE": "cti", "CONNECTOR_METRICS_SUBSYSTEM": "tm"})
	if told := series(t, scraped(t, whole(t), cfg.Connector)); told["cti_tm_run_period_seconds"] == 0 || told["go_goroutines"] == 0 {
		t.Errorf("%v", told)
	}
	cfg = load(t, map[string]string{"CONNECTOR_METRICS_SUBSYSTEM": "tm"})
	if told := series(t, scraped(t, whole(t), cfg.Connector)); told["tm_run_period_seconds"] == 0 {
		t.Errorf("%v", told)
	}
}

// metricsTable is the README's table.
func metricsTable(t *testing.T) string {
	own := families(t)
	var table strings.Builder
	table.WriteString("| Metric | Type | What it tells |\n|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(own)) {
		f, labels := own[name], map[string]bool{}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = true
			}
		}
		shown := "`" + name + "`"
		if len(labels) > 0 {
			shown = "`" + name + "{" + strings.Join(slices.Sorted(maps.Keys(labels)), ",") + "}`"
		}
		fmt.Fprintf(&table, "| %s | %s | %s |\n", shown, strings.ToLower(f.GetType().String()), f.GetHelp())
	}
	return table.String()
}

func TestTheReadmeHoldsTheMetrics(t *testing.T) {
	const begin, end = "<!-- metrics: begin -->\n", "<!-- metrics: end -->"
	held := text(t, readme)
	head, rest, found := strings.Cut(held, begin)
	_, tail, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatal("the README has no markers for the metrics")
	}
	want := head + begin + "\n" + metricsTable(t) + "\n" + end + tail
	if *update {
		if err := os.WriteFile(readme, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if held != want {
		t.Error("the README's metrics are out of date: go test ./cmd/connector-threatmatch/status -update")
	}
}

// seriesName takes from the name of a series the ending that a histogram's have.
func seriesName(name string) string {
	for _, ending := range []string{"_bucket", "_sum", "_count"} {
		if base, cut := strings.CutSuffix(name, ending); cut {
			return base
		}
	}
	return name
}

func TestTheDashboardShowsMetricsThatThereAre(t *testing.T) {
	held := text(t, dashboard)
	if !json.Valid([]byte(held)) {
		t.Fatal("the dashboard is no JSON")
	}
	own := families(t)
	shown := map[string]bool{}
	for _, m := range regexp.MustCompile(`__name__=\\"\$\{prefix\}(\w+)\\"`).FindAllStringSubmatch(held, -1) {
		name := seriesName(m[1])
		if shown[name] = true; own[name] == nil {
			t.Errorf("%s is shown and not served", m[1])
		}
	}
	for name := range own {
		if !shown[name] && !unshown[name] {
			t.Errorf("%s is served and not shown", name)
		}
	}
}

// unshown are metrics that a dashboard has no use for: another tells the same, or only a rule asks for it.
var unshown = map[string]bool{
	"bundles_sent_total": true, "records_sent_total": true, "ping_api_total": true, "ping_api_errors_total": true, "client_errors_total": true,
	"run_period_seconds": true, "unconfirmed_bytes": true, "broker_connected": true, "broker_connections_total": true, "build_info": true,
}

func TestTheAlertsAskForMetricsThatThereAre(t *testing.T) {
	held := text(t, alerts)
	own := families(t)
	// What PromQL, Prometheus and the process bring themselves.
	others := map[string]bool{"up": true, "process_start_time_seconds": true}
	asked := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\s+expr: (.*)$`).FindAllStringSubmatch(held, -1) {
		expr := regexp.MustCompile(`"[^"]*"|\[[^\]]*\]`).ReplaceAllString(m[1], "")
		for _, name := range regexp.MustCompile(`[a-z][a-z_]*_[a-z_]+|\b(up|buffering)\b`).FindAllString(expr, -1) {
			asked[name] = true
			if own[seriesName(name)] == nil && !others[name] && !functions[name] {
				t.Errorf("an alert asks for %s, which is not served", name)
			}
		}
	}
	if len(asked) < 8 {
		t.Errorf("only %v are asked for", asked)
	}
}

var functions = map[string]bool{"last_over_time": true, "max_over_time": true, "min_over_time": true}

func TestARunThatFailsBeforeItIsTakenUpIsCounted(t *testing.T) {
	s := New(load(t, nil), everyDataset)
	s.RunFailed()
	if c, _ := s.figures(); c.runs != 1 || c.failedRuns != 1 {
		t.Errorf("counted %+v", c)
	}
}
