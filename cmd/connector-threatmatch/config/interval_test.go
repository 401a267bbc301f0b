package config

import (
	"strings"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
)

func TestTheOlderIntervalCountsInDaysAndLosesToTheNewSetting(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	file := func(text string) string { return writeFile(t, text) }
	for name, tt := range map[string]struct {
		file    string
		environ map[string]string
		days    int
		warns   string
	}{
		"a variable":               {"", map[string]string{"THREATMATCH_INTERVAL": "5"}, 5, "THREATMATCH_INTERVAL is the older form of CONNECTOR_DURATION_PERIOD, whose removal is announced for 2027-01-01: 5 is taken for so many days, so set CONNECTOR_DURATION_PERIOD=P5D in its place. Releases of the Python connector before 7.260803 took it for minutes, which would be PT5M"},
		"a key":                    {file("threatmatch:\n  interval: 7\n"), nil, 7, "THREATMATCH_INTERVAL (config.yml line 2, threatmatch.interval) is the older form of CONNECTOR_DURATION_PERIOD"},
		"0":                        {"", map[string]string{"THREATMATCH_INTERVAL": "0"}, 0, "set CONNECTOR_DURATION_PERIOD=P0D"},
		"beside the new one":       {"", map[string]string{"THREATMATCH_INTERVAL": "5", "CONNECTOR_DURATION_PERIOD": "P2D"}, 2, "THREATMATCH_INTERVAL is ignored, for CONNECTOR_DURATION_PERIOD is set; remove it"},
		"a key beside it":          {file("threatmatch:\n  interval: 7\n"), map[string]string{"CONNECTOR_DURATION_PERIOD": "P1D"}, 1, "THREATMATCH_INTERVAL (config.yml line 2, threatmatch.interval) is ignored, for CONNECTOR_DURATION_PERIOD is set"},
		"beside its key":           {file("connector:\n  duration_period: P3D\n"), map[string]string{"THREATMATCH_INTERVAL": "7"}, 3, "is ignored, for CONNECTOR_DURATION_PERIOD (config.yml line 2, connector.duration_period) is set"},
		"a variable that is blank": {"", map[string]string{"THREATMATCH_INTERVAL": " "}, 1, ""},
	} {
		cfg, warnings, err := Load(tt.file, tt.file != "", configtest.Environ(tt.environ))
		if err != nil || !cfg.Connector.Period.After(now).Equal(now.AddDate(0, 0, tt.days)) || cfg.Connector.RunOnce() != (tt.days == 0) {
			t.Errorf("%s: every %s, %v", name, cfg.Connector.Period, err)
		}
		if tt.warns == "" && len(warnings) > 0 || tt.warns != "" && (len(warnings) != 1 || !strings.Contains(string(warnings[0]), tt.warns)) {
			t.Errorf("%s: %q, want %q", name, warnings, tt.warns)
		}
	}
	got, err := show(t, "", configtest.Environ(map[string]string{"THREATMATCH_INTERVAL": "5"}))
	if e := got["CONNECTOR_DURATION_PERIOD"]; err != nil || e.Value != "P5D" || e.Source.Variable != "THREATMATCH_INTERVAL" {
		t.Errorf("shown as %+v, %v", e, err)
	}
}
