package status

import (
	"encoding/json"
	"os"
	"regexp"
	"testing"
)

func TestTheDashboardShowsMetricsThatThereAre(t *testing.T) {
	text, err := os.ReadFile("../../../deploy/grafana/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(text) {
		t.Fatal("the dashboard is no JSON")
	}
	cfg := load(t, nil)
	families, err := newRegistry(New(cfg, everyDataset), cfg.Connector, "1.2").Gather()
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

func TestARunThatFailsBeforeItIsTakenUpIsCounted(t *testing.T) {
	s := New(load(t, nil), everyDataset)
	s.RunFailed()
	if c, _ := s.figures(); c.runs != 1 || c.failedRuns != 1 {
		t.Errorf("counted %+v", c)
	}
}
