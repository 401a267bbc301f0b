package config

import (
	"strings"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
)

// What the samples of the Python connector set, from its first release on, filled in.
const (
	pythonOf2021 = `opencti:
  url: 'http://localhost:8080'
  token: 'of-python'

connector:
  id: '` + configtest.ConnectorID + `'
  type: 'EXTERNAL_IMPORT'
  name: 'ThreatMatch'
  scope: 'threatmatch'
  confidence_level: 75 # from unknown to trusted
  update_existing_data: false
  log_level: 'info'

threatmatch:
  url: 'https://eu.threatmatch.com'
  client_id: 'of-python'
  client_secret: 'of-python'
  interval: 5 # minutes
  import_from_date: '2010-01-01 00:00'
  import_profiles: true # profiles
  import_alerts: true # alerts
  import_reports: true # reports
`
	pythonOfTests = `opencti:
  url: "http://test-opencti-url/"
  token: "test-opencti-token"

connector:
 id: "threatmatch-connector-id"
 type: "EXTERNAL_IMPORT"
 name: "ThreatMatch"
 scope: "threatmatch"
 log_level: "info"
 duration_period: "P1D"

threatmatch:
 url: "https://test-threatmatch-url"
 client_id: "threatmatch-client-id"
 client_secret: "threatmatch-client-secret"
 import_from_date: "2025-01-01 00:00"
 import_profiles: True
 import_alerts: True
 import_iocs: True
 tlp_level: "amber"
 threat_actor_as_intrusion_set: True`
)

// pythonFile is the first sample with what later ones took away and added.
func pythonFile(added string, removed ...string) string {
	var lines []string
	for line := range strings.Lines(pythonOf2021) {
		keep := true
		for _, key := range removed {
			keep = keep && !strings.HasPrefix(strings.TrimSpace(line), key+":")
		}
		if keep {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "") + added
}

func TestTheFilesOfThePythonConnectorPass(t *testing.T) {
	given := []string{"connector.confidence_level is ignored: it was given up; OpenCTI takes the confidence from the connector's user; remove it",
		"connector.update_existing_data is ignored: it was given up; OpenCTI decides what an import updates; remove it", "threatmatch.interval) is the older form"}
	gone := []string{"confidence_level", "update_existing_data", "interval"}
	of2025 := pythonFile("  import_iocs: true # iocs\n", append(gone, "import_reports")...)
	of2026 := strings.Replace(of2025, "'2010-01-01 00:00'", "'P30D'", 1) + "  tlp_level: 'amber' # one of many\n  threat_actor_as_intrusion_set: true"
	const noUUID = "CONNECTOR_ID is no UUID. OpenCTI keeps the connector's state under it"
	for name, tt := range map[string]struct {
		text     string
		from     string
		period   string
		warnings []string
	}{
		"2021":                    {pythonFile(""), "2010-01-01T00:00:00Z", "P5D", given},
		"2024":                    {pythonFile("  import_iocs: true # iocs\n", "import_reports"), "2010-01-01T00:00:00Z", "P5D", given},
		"2025":                    {strings.Replace(of2025, "  log_level", "  duration_period: \"PT6H\"\n  log_level", 1), "2010-01-01T00:00:00Z", "PT6H", nil},
		"2026":                    {of2026, "P30D", "P1D", nil},
		"2026, without a type":    {strings.Replace(of2026, "  type: 'EXTERNAL_IMPORT'\n", "", 1), "P30D", "P1D", nil},
		"misspelled":              {pythonFile("  threat_actor_as_instrusion_set: yes\n", gone...), "2010-01-01T00:00:00Z", "P1D", nil},
		"its tests":               {pythonOfTests, "2025-01-01T00:00:00Z", "P1D", []string{noUUID}},
		"its tests, with seconds": {strings.Replace(pythonOfTests, "01 00:00", "01 00:00:00", 1), "2025-01-01T00:00:00Z", "P1D", []string{noUUID}},
		"its tests, unquoted":     {strings.Replace(pythonOfTests, `"2025-01-01 00:00"`, "2025-01-01 00:00:00", 1), "2025-01-01T00:00:00Z", "P1D", []string{noUUID}},
		"an interval of the connector": {strings.Replace(pythonOfTests, ` duration_period: "P1D"`, " interval: 3", 1), "2025-01-01T00:00:00Z", "P1D",
			[]string{"config.yml line 11: connector.interval is ignored: connector.duration_period takes its place; remove it", noUUID}},
	} {
		cfg, warnings, err := Load(writeFile(t, tt.text), true, []string{"PATH=/bin", "CONNECTOR_TYPE=EXTERNAL_IMPORT"})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if cfg.ThreatMatch.ImportFrom.String() != tt.from || cfg.Connector.Period.String() != tt.period || !cfg.ThreatMatch.Profiles || !cfg.ThreatMatch.ThreatActorAsIntrusionSet {
			t.Errorf("%s: %s", name, cfg)
		}
		wantWarnings(t, name, warnings, tt.warnings)
	}
}

// wantWarnings wants each, and no other.
func wantWarnings(t *testing.T, name string, got []Warning, wants []string) {
	t.Helper()
	if len(got) != len(wants) {
		t.Errorf("%s: %q, want %q", name, got, wants)
		return
	}
	var all []string
	for _, w := range got {
		all = append(all, string(w))
	}
	for _, want := range wants {
		if !strings.Contains(strings.Join(all, "\n"), want) {
			t.Errorf("%s: %q is missing in %q", name, want, got)
		}
	}
}

func TestTheEnvironmentsOfThePythonConnectorPass(t *testing.T) {
	const base = "OPENCTI_URL=http://localhost\nOPENCTI_TOKEN=of-python\nCONNECTOR_ID=" + configtest.ConnectorID +
		"\nCONNECTOR_NAME=ThreatMatch\nCONNECTOR_SCOPE=threatmatch\nCONNECTOR_LOG_LEVEL=error\nTHREATMATCH_URL=https://eu.threatmatch.com" +
		"\nTHREATMATCH_CLIENT_ID=of-python\nTHREATMATCH_CLIENT_SECRET=of-python\n"
	for name, tt := range map[string]struct {
		text     string
		period   string
		warnings []string
	}{
		"2021": {"CONNECTOR_TYPE=EXTERNAL_IMPORT\nCONNECTOR_CONFIDENCE_LEVEL=75\nCONNECTOR_UPDATE_EXISTING_DATA=false\nTHREATMATCH_INTERVAL=5\nTHREATMATCH_IMPORT_FROM_DATE=2010-01-01 00:00\n" +
			"THREATMATCH_IMPORT_PROFILES=true\nTHREATMATCH_IMPORT_ALERTS=true\nTHREATMATCH_IMPORT_REPORTS=true", "P5D", []string{"CONNECTOR_CONFIDENCE_LEVEL is ignored", "THREATMATCH_INTERVAL is the older form"}},
		"2025": {"CONNECTOR_DURATION_PERIOD=P1D\nTHREATMATCH_IMPORT_FROM_DATE=P30D\nTHREATMATCH_IMPORT_PROFILES=True\nTHREATMATCH_IMPORT_ALERTS=yes\nTHREATMATCH_IMPORT_IOCS=on\n" +
			"THREATMATCH_TLP_LEVEL=amber\nTHREATMATCH_THREAT_ACTOR_AS_INSTRUSION_SET=true", "P1D", nil},
		"2026": {"CONNECTOR_DURATION_PERIOD=P1D\nTHREATMATCH_INTERVAL=1\nTHREATMATCH_IMPORT_FROM_DATE=2025-01-01 00:00\nTHREATMATCH_IMPORT_IOCS=True\nTHREATMATCH_THREAT_ACTOR_AS_INTRUSION_SET=True",
			"P1D", []string{"THREATMATCH_INTERVAL is ignored, for CONNECTOR_DURATION_PERIOD is set"}},
	} {
		cfg, warnings, err := Load("", false, strings.Split(base+tt.text, "\n"))
		if err != nil || cfg.Connector.Period.String() != tt.period || !cfg.ThreatMatch.IOCs || !cfg.ThreatMatch.ImportFrom.From(time.Now()).Before(time.Now()) {
			t.Errorf("%s: %v, %s", name, err, cfg)
		}
		wantWarnings(t, name, warnings, tt.warnings)
	}
}
