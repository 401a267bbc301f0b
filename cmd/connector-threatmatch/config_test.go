package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
)

func TestConfigCheckReadsTheFileInTheWorkingDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile(configFile, []byte("connector:\n  name: From the file\n  log_level: loud\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, problems bytes.Buffer
	status := execute(context.Background(), []string{"config", "check"}, console{&out, &problems, configtest.Environ(nil)})
	if status != 2 || !strings.Contains(problems.String(), "config.yml line 3, connector.log_level") {
		t.Errorf("status %d, %s", status, problems.String())
	}
	if status, out, problems := run(t, configtest.Environ(nil), "config", "check"); status != 0 || !strings.Contains(out, "valid") {
		t.Errorf("status %d, %s", status, problems)
	}
	if status, _, problems := run(t, configtest.Environ(nil), "config", "check", "--config", "missing.yml"); status != 2 || !strings.Contains(problems, "missing.yml") {
		t.Errorf("status %d, %s", status, problems)
	}
}

// unusable is the environment of a connector that cannot write what it remembers, and of which a variable is misspelled.
func unusable(t *testing.T, more map[string]string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	more["CONNECTOR_STATE_DIR"], more["CONNECTOR_NAMEE"] = filepath.Join(file, "state"), "x"
	return configtest.Environ(more)
}

func TestConfigCheckAndShowWarn(t *testing.T) {
	env := unusable(t, map[string]string{})
	for _, command := range []string{"check", "show"} {
		status, _, problems := run(t, env, "config", command)
		if status != 0 || !strings.Contains(problems, "did you mean CONNECTOR_NAME?") || !strings.Contains(problems, "CONNECTOR_STATE_DIR") {
			t.Errorf("%s: status %d, %s", command, status, problems)
		}
		var got findings
		status, out, problems := run(t, env, "config", command, "--json")
		if err := json.Unmarshal([]byte(out), &got); err != nil || status != 0 || problems != "" || len(got.Warnings) != 2 || len(got.Problems) != 0 {
			t.Errorf("%s --json: %v, status %d, %s%s", command, err, status, out, problems)
		}
		status, out, _ = run(t, []string{"OPENCTI_URL=nowhere", "CONNECTOR_NAMEE=x", "CONNECTOR_STATE_DIR=" + t.TempDir()}, "config", command, "--json")
		got = findings{}
		if err := json.Unmarshal([]byte(out), &got); err != nil || status != 2 || len(got.Warnings) != 1 || len(got.Problems) != 5 {
			t.Errorf("%s --json: %v, status %d, %s", command, err, status, out)
		}
	}
}

func TestConfigShowTellsWholeValuesOnALineEachAndNoSecret(t *testing.T) {
	env := configtest.Environ(map[string]string{"http_proxy": "http://me:" + configtest.Token + "@proxy:1", "CONNECTOR_NAME": strings.Repeat("long ", 20) + "\n"})
	for _, args := range [][]string{{}, {"--explain"}, {"--json"}} {
		_, out, problems := run(t, env, append([]string{"config", "show"}, args...)...)
		if strings.Contains(out+problems, "nobody-may-see") {
			t.Errorf("%q shows a secret: %s%s", args, out, problems)
		}
	}
	_, out, _ := run(t, env, "config", "show")
	for line := range strings.Lines(out) {
		if len([]rune(line)) > 110 && !strings.HasPrefix(line, "CONNECTOR_NAME ") {
			t.Errorf("%d letters: %s", len([]rune(line)), line)
		}
	}
	for _, want := range []string{strings.TrimSpace(strings.Repeat("long ", 20)) + "\n", "THREATMATCH_TLP_LEVEL  ", "environment, http_proxy", "default", "not set", "http://***@proxy:1"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in %s", want, out)
		}
	}
	if _, out, _ := run(t, env, "config", "show", "--explain"); !strings.Contains(out, "THREATMATCH_TLP_LEVEL = amber (default)\n    Marking for") || !strings.Contains(out, "    Must be one of clear, ") {
		t.Errorf("--explain: %s", out)
	}
}

func TestSchemasSamplesAndTablesArePrinted(t *testing.T) {
	for _, args := range [][]string{{"schema"}, {"schema", "--for", "env"}, {"schema", "--for", "yaml"}} {
		if status, out, _ := run(t, nil, append([]string{"config"}, args...)...); status != 0 || !json.Valid([]byte(out)) {
			t.Errorf("%q: status %d, %s", args, status, out)
		}
	}
	for _, args := range [][]string{{"sample"}, {"sample", "--format", "env"}, {"sample", "--format", "compose"}, {"sample", "--format", "yaml"}, {"docs"}, {"docs", "catalogue"}} {
		if status, out, _ := run(t, nil, append([]string{"config"}, args...)...); status != 0 || !strings.Contains(strings.ToUpper(out), "TLP_LEVEL") {
			t.Errorf("%q: status %d, %s", args, status, out)
		}
	}
	if _, out, _ := run(t, nil, "config", "schema"); out != string(config.Schema()) {
		t.Errorf("not the catalogue's schema: %s", out)
	}
}

// TestWarningsAboutTheConfigurationAreLoggedAtAnyLevel lets the program end at once, for its port is taken.
func TestWarningsAboutTheConfigurationAreLoggedAtAnyLevel(t *testing.T) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, level := range []string{"error", "warn", "info"} {
		for _, asJSON := range []bool{true, false} {
			_, _, said := run(t, unusable(t, map[string]string{
				"CONNECTOR_EXPOSE_METRICS": "true", "CONNECTOR_METRICS_PORT": strconv.Itoa(l.Addr().(*net.TCPAddr).Port),
				"CONNECTOR_LOG_LEVEL": level, "OPENCTI_JSON_LOGGING": strconv.FormatBool(asJSON)}))
			lines := slices.DeleteFunc(strings.Split(said, "\n"), func(line string) bool { return !strings.Contains(line, "did you mean CONNECTOR_NAME?") })
			if len(lines) != 1 || json.Valid([]byte(lines[0])) != asJSON || !strings.Contains(lines[0], "warning") {
				t.Errorf("%s, JSON %t: %s", level, asJSON, said)
			}
			if strings.Contains(said, "CONNECTOR_STATE_DIR") {
				t.Errorf("who opens the folder says this: %s", said)
			}
		}
	}
	if _, _, said := run(t, []string{"CONNECTOR_NAMEE=x"}); !strings.Contains(said, "warning: CONNECTOR_NAMEE") {
		t.Errorf("with a bad configuration: %s", said)
	}
}
