package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

func promtool(t *testing.T, args ...string) {
	t.Helper()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (Debian, Ubuntu: apt-get install prometheus)")
	}
	cmd := exec.Command(tool, args...)
	cmd.Dir = "prometheus"
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, said)
	}
}

// The jobs are taken into the file of a Prometheus that has others.
func TestPrometheusTakesTheJobs(t *testing.T) {
	here, err := filepath.Abs("prometheus")
	if err != nil {
		t.Fatal(err)
	}
	// Debian's Prometheus is built without the discovery in Kubernetes: it sees everything else of the job.
	const discovery, instead = "kubernetes_sd_configs:\n      - role: pod\n", "static_configs:\n      - targets: []\n"
	for _, name := range []string{"scrape.yml", "scrape.kubernetes.yml"} {
		text := read(t, "prometheus/"+name)
		if found := strings.Contains(text, discovery); found != (name == "scrape.kubernetes.yml") {
			t.Errorf("%s looks for pods: %v", name, found)
		}
		whole := filepath.Join(t.TempDir(), "prometheus.yml")
		text = fmt.Sprintf("rule_files: [%q]\n", here+"/alerts.yml") + strings.Replace(text, discovery, instead, 1)
		if err := os.WriteFile(whole, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		promtool(t, "check", "config", whole)
		var jobs struct {
			Configs []struct {
				Name string `yaml:"job_name"`
			} `yaml:"scrape_configs"`
		}
		if err := yaml.Unmarshal([]byte(text), &jobs); err != nil {
			t.Fatal(err)
		}
		if len(jobs.Configs) != 1 || !strings.Contains(read(t, "prometheus/alerts.yml"), `up{job="`+jobs.Configs[0].Name+`"}`) {
			t.Errorf("%s has the jobs %+v, by which no alert goes", name, jobs.Configs)
		}
	}
}

func TestTheAlertsFireWhenTheyShouldAndAreSilentElse(t *testing.T) {
	promtool(t, "check", "rules", "--lint=all", "--lint-fatal", "alerts.yml")
	promtool(t, "test", "rules", "alerts_test.yml")
}

// anchor is what GitHub makes of a heading.
func anchor(heading string) string {
	kept := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(heading), "")
	return strings.ReplaceAll(kept, " ", "-")
}

func TestEveryAlertIsTriedAndSaysWhatToDo(t *testing.T) {
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert       string
				Labels      map[string]string
				Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "prometheus/alerts.yml")), &rules); err != nil {
		t.Fatal(err)
	}
	anchors := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(read(t, "../README.md"), -1) {
		anchors["README.md#"+anchor(m[1])] = true
	}
	tried, n := read(t, "prometheus/alerts_test.yml"), 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			n++
			if severity := r.Labels["severity"]; severity != "critical" && severity != "warning" {
				t.Errorf("%s has the severity %q", r.Alert, severity)
			}
			if r.Annotations["summary"] == "" || len(r.Annotations["description"]) < 100 {
				t.Errorf("%s says too little: %q", r.Alert, r.Annotations)
			}
			if !anchors[r.Annotations["runbook"]] {
				t.Errorf("%s leads to %q, which the README does not have", r.Alert, r.Annotations["runbook"])
			}
			if !strings.Contains(tried, `ALERTS{alertname="`+r.Alert+`", alertstate="firing", severity="`+r.Labels["severity"]+`"`) {
				t.Errorf("nothing lets %s fire in alerts_test.yml", r.Alert)
			}
		}
	}
	if n < 8 {
		t.Errorf("there are only %d alerts", n)
	}
}

func TestTheDashboardCanShowOneOfSeveralConnectors(t *testing.T) {
	asked := 0
	for _, m := range regexp.MustCompile(`"expr": .*`).FindAllString(read(t, "grafana/dashboard.json"), -1) {
		for _, selector := range regexp.MustCompile(`\{__name__=[^}]*\}[^{]*?\}`).FindAllString(m, -1) {
			if asked++; !strings.Contains(selector, `job=~\"$job\",instance=~\"$instance\"`) {
				t.Errorf("%s is that of all connectors", selector)
			}
		}
	}
	if asked < 40 {
		t.Errorf("only %d selectors were found", asked)
	}
}
