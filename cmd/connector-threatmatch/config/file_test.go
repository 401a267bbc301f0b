package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
)

func TestAFileValueWinsAndOneWarningNamesBoth(t *testing.T) {
	path := writeFile(t, "opencti:\n  url: http://file\nconnector:\n  name: ''\n  log_level: info\n")
	cfg, warnings, err := Load(path, true, configtest.Environ(map[string]string{
		"OPENCTI_URL": "http://env", "CONNECTOR_NAME": "from env", "CONNECTOR_LOG_LEVEL": "info"}))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.OpenCTI.URL != "http://file" {
		t.Errorf("the file's URL lost: %s", cfg.OpenCTI.URL)
	}
	if cfg.Connector.Name != "from env" {
		t.Errorf("a blank in the file hides the environment: %q", cfg.Connector.Name)
	}
	want := "opencti.url in config.yml (line 2) hides the environment variable OPENCTI_URL"
	if len(warnings) != 1 || string(warnings[0]) != want {
		t.Errorf("warnings: %q", warnings)
	}
}

func TestConfigYmlIsReadAsWritten(t *testing.T) {
	path := writeFile(t, `---
# a comment
opencti:
  url: "http://opencti:8080/" # quoted
  token: 0123456789012345678901234567890
  ssl_verify: No
connector:
  id: `+configtest.ConnectorID+`
  scope: [one, two]
  duration_period: PT6H
  queue_threshold: 1e2
  max_message_bytes: 1048576
threatmatch:
  client_id: 1.50
  client_secret: |
    `+configtest.ClientSecret+`
  import_from_date: 2024-03-05
  import_profiles: OFF
  threat_actor_as_instrusion_set: false
mq:
  port: 5673
`)
	c, warnings, err := Load(path, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, same := range map[string]bool{
		"token":  c.OpenCTI.Token.Reveal() == "0123456789012345678901234567890",
		"verify": !c.OpenCTI.TLS.Verify,
		"scope":  slices.Equal(c.Connector.Scope, []string{"one", "two"}),
		"queue":  c.Connector.QueueThreshold == 100,
		"id":     c.ThreatMatch.ClientID == "1.50",
		"secret": c.ThreatMatch.ClientSecret.Reveal() == configtest.ClientSecret,
		"from":   c.ThreatMatch.ImportFrom.String() == "2024-03-05T00:00:00Z",
		"off":    !c.ThreatMatch.Profiles && !c.ThreatMatch.ThreatActorAsIntrusionSet,
		"port":   c.MQ.Port == 5673,
	} {
		if !same {
			t.Errorf("%s was read wrongly: %s", name, c)
		}
	}
	if len(warnings) != 1 || !strings.Contains(string(warnings[0]), "OPENCTI_SSL_VERIFY") {
		t.Errorf("warnings: %q", warnings)
	}
}

func TestWhatIsWrongWithAFileIsNamedWithItsLine(t *testing.T) {
	for text, want := range map[string]string{
		"opencti:\n  url: x\nopenctl:\n  token: y\n":          `config.yml line 3: unknown key "openctl"; the closest known is "opencti"`,
		"url: http://opencti\n":                               `config.yml line 1: unknown key "url"; the closest known is "opencti.url"`,
		"threatmatch:\n\n  # why\n  tlp: red\n":               `config.yml line 4: unknown key "threatmatch.tlp"`,
		"opencti:\n  token_file: /run/x\n":                    `config.yml line 2: unknown key "opencti.token_file"; the path of a file with a secret is read from the environment only: set OPENCTI_TOKEN_FILE there`,
		"opencti:\n  url_file: /run/x\n":                      `config.yml line 2: unknown key "opencti.url_file"; the closest known is "opencti.url"`,
		"connector:\n  name: [[a]]\n":                         `config.yml line 2: connector.name must be a plain value`,
		"connector:\n  name: {a: b}\n":                        `config.yml line 2: connector.name must be a plain value`,
		"connector: x\n":                                      `config.yml line 1: connector must hold keys with values`,
		"- a\n":                                               `config.yml line 1: must hold sections`,
		"connector:\n  name: a\n  name: b\n":                  `config.yml line 3: holds a key a second time`,
		"connector:\n  name: 'a\n":                            `config.yml line 2: is not YAML: could not find end character of single-quoted text`,
		"connector:\n  name: [a\n":                            `is not YAML: sequence end token ']' not found`,
		"connector:\n\tname: a\n":                             `config.yml line 2: is not YAML: found `,
		"connector:\n  name: a: b\n":                          `config.yml line 2: is not YAML: mapping value is not allowed in this context`,
		"connector:\n  name: \"a\\z\"\n":                      `config.yml line 2: is not YAML: found unknown escape character …`,
		"connector:\n  name: a\n---\nconnector:\n  name: b\n": `begins a second YAML document`,
		"connector:\n  name: &a x\n  scope: *a\n":             `must be a plain value`,
		"threatmatch:\n  threat_actor_as_instrusion_set: true\n  threat_actor_as_intrusion_set: false\n": `line 3: threatmatch.threat_actor_as_intrusion_set says the same as threatmatch.threat_actor_as_instrusion_set in line 2`,
	} {
		_, _, err := Load(writeFile(t, text), true, configtest.Environ(nil))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q gives %v, want %q", text, err, want)
		}
	}
}

func TestAMissingFileIsAnErrorOnlyWhenItWasAskedFor(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "config.yml")
	if _, _, err := Load(missing, false, configtest.Environ(nil)); err != nil {
		t.Error(err)
	}
	if _, _, err := Load(missing, true, configtest.Environ(nil)); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("got %v", err)
	}
	if _, _, err := Load(t.TempDir(), false, configtest.Environ(nil)); err == nil {
		t.Error("a folder was read as a file")
	}
	for _, empty := range []string{"", "\n# nothing\n", "---\n", "opencti:\nconnector:\n"} {
		if _, warnings, err := Load(writeFile(t, empty), true, configtest.Environ(nil)); err != nil || !slices.Equal(warnings, []Warning{"config.yml holds no setting"}) {
			t.Errorf("%q: %v %q", empty, err, warnings)
		}
		if _, warnings, err := Load(writeFile(t, empty), false, configtest.Environ(nil)); err != nil || len(warnings) > 0 {
			t.Errorf("%q, which nobody named: %v %q", empty, err, warnings)
		}
	}
	if _, _, err := Load(writeFile(t, strings.Repeat("#", maxConfigBytes+1)), true, configtest.Environ(nil)); err == nil {
		t.Error("a file without end was read")
	}
}

// TestAParsersReasonHoldsNothingOfTheFile puts a secret wherever YAML can be wrong.
func TestAParsersReasonHoldsNothingOfTheFile(t *testing.T) {
	const secret = "nobody-may-see"
	for _, text := range []string{
		"opencti:\n  token: '%s\n", "opencti:\n  token: \"%s\n", "opencti:\n  token: \"a\\%s\"\n", "opencti:\n  token: \"\\z%s\"\n",
		"opencti:\n  token: |%s\n    x\n", "opencti:\n  token: >%s\n", "opencti:\n  token: [%s\n", "opencti:\n  token: {%s\n",
		"opencti:\n  token: {%s: a, %[1]s: b}\n", "opencti:\n  token: *%s\n  x: *\n", "opencti:\n  token: &%s\n&%[1]s x\n", "opencti:\n  token: !%s x\n bad\n",
		"opencti:\n  token: !%s{\n", "opencti:\n  token: `%s`\n", "opencti:\n  token: @%s\n", "opencti:\n  token: %%%s\n", "opencti:\n  token: a: %s\n",
		"opencti:\n  token: %s: %[1]s: x\n", "opencti:\n  token: ]%s\n", "%%YAML %s\n---\nopencti:\n", "%%TAG %s\n---\n", "%%%s\n", "opencti:\n\ttoken: %s\n", "opencti:\n  token: %s\n\tx: y\n",
		"opencti:\n  token: %s\n bad\n", "opencti:\n  token: x\n%s\n", "opencti:\n  token: 'x' %s\n", "opencti:\n  token: '%s\n--- %[1]s\n'", "--- %s\nopencti: x\n... %[1]s\n", "? %s\n: [\n",
		"opencti:\n  %s: 1\n  %[1]s: 2\n", "<<: %s\n<<:\n  - \"%[1]s\n", "opencti:\n  token: !!int \"%s\n", "opencti:\n  token: \"%s\\\"\n",
	} {
		err := yamlError(fmt.Sprintf(text, secret))
		if err == nil {
			continue // YAML takes more than one would think, and then it is for others to refuse
		}
		if _, reason := parserReason(err); strings.Contains(reason, "nobody") || strings.Contains(reason, "see") {
			t.Errorf("%q: %s", text, reason)
		}
	}
}

func yamlError(text string) error {
	_, err := parseYAML([]byte(text))
	return err
}

func FuzzConfigFile(f *testing.F) {
	f.Add("opencti:\n  url: http://opencti\n  token: t\n")
	f.Add("connector: {name: [a, b], scope: *x}\n")
	f.Add("threatmatch:\n  client_secret: |\n    x\n  ? y\n")
	f.Add("a: &a [*a]\n---\n%YAML 1.2\n")
	f.Add("<<: {opencti: 1}\n!!map\n")
	table := allSettings(time.Now())
	f.Fuzz(func(t *testing.T, text string) {
		w := configWalk{readings: readings{path: "config.yml", values: map[string]reading{}}, paths: pathsOf(table)}
		w.document([]byte(text))
		for key, found := range w.values {
			if strings.TrimSpace(found.text) == "" || found.line < 1 {
				t.Errorf("%s: %+v", key, found)
			}
		}
		for _, p := range w.problems {
			if p.Name == "" || p.Advice == "" {
				t.Errorf("an empty problem: %+v", p)
			}
			if _, reason, isReason := strings.Cut(p.Advice, "is not YAML: "); isReason && strings.Contains(reason, `"`) {
				t.Errorf("%q is quoted", reason)
			}
		}
	})
}
