package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/check"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
)

func TestCheckReadsTheFileInTheWorkingDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile(configFile, []byte("connector:\n  name: From the file\n  log_level: loud\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, problems bytes.Buffer
	status := execute(context.Background(), []string{"check"}, console{&out, &problems, configtest.Environ(map[string]string{"CONNECTOR_SEND_TO_S3": "true"})})
	if status != 2 || !strings.Contains(out.String(), "– S3 bucket") || strings.Contains(problems.String(), "log_level") || !strings.Contains(out.String(), "✘ configuration settings     1 problem\n✘ configuration setting      CONNECTOR_LOG_LEVEL (config.yml line 3, connector.log_level)") {
		t.Errorf("status %d, %s%s", status, out.String(), problems.String())
	}
	if status, _, problems := run(t, configtest.Environ(nil), "check", "--config", "missing.yml"); status != 2 || !strings.Contains(problems, "the configuration is wrong") {
		t.Errorf("status %d, %s", status, problems)
	}
}

// Nothing answers on the ports that are named, so that each part fails by itself.
func TestCheckFailsWithTheFirstCause(t *testing.T) {
	const nowhere = "http://127.0.0.1:1"
	env := configtest.Environ(map[string]string{"OPENCTI_URL": nowhere, "THREATMATCH_URL": nowhere, "CONNECTOR_STATE_DIR": t.TempDir()})
	status, out, problems := run(t, env, "check")
	if status != 1 || !strings.Contains(out, "✘ ThreatMatch   connection") || !strings.Contains(out, "✘ OpenCTI       connection") || !strings.Contains(out, "– RabbitMQ") {
		t.Errorf("status %d, %s", status, out)
	}
	if problems != "connector-threatmatch: 2 checks failed: ThreatMatch, connection; OpenCTI, connection\n" || strings.Count(out, "127.0.0.1:1: nothing listens there") != 2 {
		t.Errorf("on the standard error: %s", problems)
	}
	status, out, _ = run(t, env, "check", "--json")
	var list []check.Finding
	if err := json.Unmarshal([]byte(out), &list); err != nil || status != 1 || len(list) < 10 || list[0].Part != "configuration" || list[0].Status != check.OK {
		t.Errorf("status %d, %v, %s", status, err, out)
	}
}

func TestCheckTellsWhatItDoes(t *testing.T) {
	if status, out, _ := run(t, nil, "check", "--help"); status != 0 || !strings.Contains(out, "Example:") || !strings.Contains(out, "--json") {
		t.Errorf("status %d, %s", status, out)
	}
}
