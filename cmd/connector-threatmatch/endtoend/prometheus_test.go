package endtoend

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// prometheus is a real one that scrapes a connector and judges it by the alerts, with all of their times cut short.
type prometheus struct {
	t    *testing.T
	port int
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	text strings.Builder
}

const deployed = "../../../deploy/prometheus/"

// startPrometheus starts one with the job and the alerts that are deployed.
func startPrometheus(t *testing.T, connector int) *prometheus {
	t.Helper()
	path, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("prometheus is not installed (Debian, Ubuntu: apt-get install prometheus)")
	}
	dir := t.TempDir()
	place := func(name string, what *regexp.Regexp, by, head string) {
		text, err := os.ReadFile(deployed + name)
		if err != nil {
			t.Fatal(err)
		}
		changed := what.ReplaceAllString(string(text), by)
		if changed == string(text) {
			t.Fatalf("nothing was changed in %s", name)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(head+changed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	place("scrape.yml", regexp.MustCompile(`connector-threatmatch:9095`), fmt.Sprintf("127.0.0.1:%d", connector),
		"global: {scrape_interval: 100ms, evaluation_interval: 100ms}\nrule_files: [alerts.yml]\n")
	place("alerts.yml", regexp.MustCompile(`(?m)^( +for: )\w+`), "${1}100ms", "")
	p := &prometheus{t: t, port: freePort(t), done: make(chan struct{})}
	p.cmd = exec.Command(path, "--config.file="+filepath.Join(dir, "scrape.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		fmt.Sprintf("--web.listen-address=127.0.0.1:%d", p.port), "--log.level=warn")
	p.cmd.Stdout, p.cmd.Stderr = &p.text, &p.text
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // it is told to end
	}()
	t.Cleanup(p.end)
	return p
}

// end ends it, and shows what it said where the test has failed.
func (p *prometheus) end() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // has ended already: nothing to do
	select {
	case <-p.done:
	case <-time.After(hang):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	if p.t.Failed() {
		p.t.Log("Prometheus said: " + p.text.String())
	}
}

// get asks its API; false says that it does not answer yet.
func (p *prometheus) get(path string, into any) bool {
	p.t.Helper()
	select {
	case <-p.done:
		p.t.Fatal("Prometheus has ended")
	default:
	}
	status, body, err := ask(p.port, "/api/v1/"+path)
	if err != nil || status == http.StatusServiceUnavailable {
		return false
	}
	answer := struct {
		Status, Error string
		Data          any
	}{Data: into}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Status != "success" {
		p.t.Fatalf("%s: %d %s %v", path, status, body, err)
	}
	return true
}

type activeAlert struct {
	Labels, Annotations map[string]string
	State               string
}

// firing are the alerts that fire, by name.
func (p *prometheus) firing() map[string]activeAlert {
	var found struct{ Alerts []activeAlert }
	p.get("alerts", &found)
	fire := map[string]activeAlert{}
	for _, a := range found.Alerts {
		if a.State == "firing" {
			fire[a.Labels["alertname"]] = a
		}
	}
	return fire
}

// isUp reports whether the connector's target answers.
func (p *prometheus) isUp() bool {
	var found struct {
		ActiveTargets []struct{ Health string }
	}
	return p.get("targets", &found) && len(found.ActiveTargets) == 1 && found.ActiveTargets[0].Health == "up"
}

// lacks are the names of metrics that it has no series of the connector's of.
func (p *prometheus) lacks(wanted []string) (missing []string) {
	var have []string
	p.get("label/__name__/values?match[]="+url.QueryEscape(`{job="connector-threatmatch"}`), &have)
	for _, name := range wanted {
		if !slices.Contains(have, name) {
			missing = append(missing, name)
		}
	}
	return missing
}

// ailingRules are those that Prometheus cannot evaluate, and the number of all that it has evaluated.
func (p *prometheus) ailingRules() (ailing []string, evaluated int) {
	var found struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	p.get("rules", &found)
	for _, g := range found.Groups {
		for _, r := range g.Rules {
			switch r.Health {
			case "ok":
				evaluated++
			case "err":
				ailing = append(ailing, r.Name+": "+r.LastError)
			}
		}
	}
	return ailing, evaluated
}

// finds counts what an expression gives now; one that Prometheus does not understand fails the test.
func (p *prometheus) finds(expr string) int {
	p.t.Helper()
	var found struct{ Result []json.RawMessage }
	p.get("query?query="+url.QueryEscape(expr), &found)
	return len(found.Result)
}

// dashboardQueries are the expressions of the dashboard, for metrics without a prefix.
func dashboardQueries(t *testing.T) (exprs []string) {
	t.Helper()
	text, err := os.ReadFile("../../../deploy/grafana/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	filled := strings.NewReplacer("${prefix}", "", "$job", "connector-threatmatch", "$instance", ".+", "$__rate_interval", "1m")
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			exprs = append(exprs, filled.Replace(target.Expr))
		}
	}
	if len(exprs) < 30 {
		t.Errorf("the dashboard asks only %q", exprs)
	}
	return exprs
}

// seriesNames are the names of all series that a text has.
func seriesNames(text string) (names []string) {
	for _, m := range regexp.MustCompile(`(?m)^(\w+)[{ ]`).FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func TestARealPrometheusReadsTheMetricsAndFiresTheAlerts(t *testing.T) {
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: threatmatchtest.Generate(threatmatchtest.Shape{Seed: 1, Profiles: 6, Indicators: 20})}})
	port := freePort(t)
	p := startPrometheus(t, port)
	eventually(t, "the alert that nobody answers fires", func() bool {
		_, fires := p.firing()["ThreatMatchConnectorDown"]
		return fires
	})
	w.start("CONNECTOR_RUN_AND_TERMINATE=false", "CONNECTOR_DURATION_PERIOD=PT5S", "CONNECTOR_EXPOSE_METRICS=true", "CONNECTOR_METRICS_PORT="+strconv.Itoa(port))
	eventually(t, "Prometheus scrapes the connector, and no alert fires", func() bool { return p.isUp() && len(p.firing()) == 0 })
	_, body, err := ask(port, "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	names := seriesNames(body)
	if !slices.Contains(names, "window_lag_seconds") || !slices.Contains(names, "confirm_latency_seconds_bucket") {
		t.Errorf("the connector serves %q", names)
	}
	eventually(t, "Prometheus has every series that the connector serves", func() bool { return len(p.lacks(names)) == 0 })

	w.api.Fault(threatmatchtest.Rule{Do: threatmatchtest.Status(http.StatusUnauthorized)})
	var alert activeAlert
	eventually(t, "the alert that credentials are refused fires", func() (fires bool) {
		alert, fires = p.firing()["ThreatMatchCredentialsRefused"]
		return fires
	})
	if alert.Labels["remote"] != "threatmatch" || alert.Labels["severity"] != "critical" ||
		!strings.Contains(alert.Annotations["summary"], "refused by threatmatch") || !strings.Contains(alert.Annotations["description"], "THREATMATCH_CLIENT_SECRET") {
		t.Errorf("the alert says %+v", alert)
	}
	for _, expr := range dashboardQueries(t) {
		if betweenRuns := strings.Contains(expr, "> 0)") && !strings.Contains(expr, "time()"); betweenRuns {
			p.finds(expr) // there are channels in a run only
			continue
		}
		eventually(t, "the dashboard shows something for "+expr, func() bool { return p.finds(expr) > 0 })
	}
	if ailing, evaluated := p.ailingRules(); len(ailing) > 0 || evaluated < 8 {
		t.Errorf("%d rules are well, and %q are not", evaluated, ailing)
	}
}
