package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hang ends what would wait for ever; where the machine has nothing else to do, nothing takes a tenth of it.
const hang = 5 * time.Minute

// run executes a command line in an empty folder.
func run(t *testing.T, env []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	t.Chdir(t.TempDir())
	var out, problems bytes.Buffer
	status = execute(context.Background(), args, console{&out, &problems, env})
	return status, out.String(), problems.String()
}

func TestABadConfigurationEndsWithStatusTwoBeforeAnythingElse(t *testing.T) {
	for _, args := range [][]string{{}, {"run"}, {"check"}} {
		status, out, problems := run(t, []string{"OPENCTI_URL=nowhere"}, args...)
		if status != 2 || out != "" || !strings.Contains(problems, "5 problems") || !strings.Contains(problems, "OPENCTI_URL is \"nowhere\"") {
			t.Errorf("%q: status %d, %s%s", args, status, out, problems)
		}
	}
}

func TestAWrongCommandLineEndsWithStatusTwo(t *testing.T) {
	for _, args := range [][]string{{"fly"}, {"--nonsense"}, {"sandbox", "--profiles", "-1"}, {"sandbox", "--rabbitmq", "http://x"}, {"sandbox", "--data", "/no/such/folder"}} {
		if status, _, problems := run(t, nil, args...); status != 2 || !strings.Contains(problems, "see --help") {
			t.Errorf("%q: status %d, %s", args, status, problems)
		}
	}
}

func TestHelpAndVersionNeedNoConfiguration(t *testing.T) {
	if status, out, _ := run(t, nil, "--help"); status != 0 || !strings.Contains(out, "sandbox") {
		t.Errorf("--help: status %d, %s", status, out)
	}
	if status, out, _ := run(t, nil, "version"); status != 0 || strings.TrimSpace(out) == "" {
		t.Errorf("version: status %d, %q", status, out)
	}
}

func TestCheckReadsTheFileInTheWorkingDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile(configFile, []byte("connector:\n  name: From the file\n  log_level: loud\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, problems bytes.Buffer
	status := execute(context.Background(), []string{"check"}, console{&out, &problems, configtest.Environ(nil)})
	if status != 2 || !strings.Contains(problems.String(), "config.yml line 3, connector.log_level") {
		t.Errorf("status %d, %s", status, problems.String())
	}
	if status, out, problems := run(t, configtest.Environ(nil), "check"); status != 0 || !strings.Contains(out, "valid") {
		t.Errorf("status %d, %s", status, problems)
	}
	if status, _, problems := run(t, configtest.Environ(nil), "check", "--config", "missing.yml"); status != 2 || !strings.Contains(problems, "missing.yml") {
		t.Errorf("status %d, %s", status, problems)
	}
}

func TestSchemaAndDocsArePrinted(t *testing.T) {
	if status, out, _ := run(t, nil, "schema"); status != 0 || !json.Valid([]byte(out)) {
		t.Errorf("schema: status %d, %s", status, out)
	}
	for _, form := range []string{"table", "catalogue", "env", "compose", "yaml"} {
		if status, out, _ := run(t, nil, "docs", form); status != 0 || !strings.Contains(strings.ToUpper(out), "TLP_LEVEL") {
			t.Errorf("docs %s: status %d, %s", form, status, out)
		}
	}
	if status, out, _ := run(t, nil, "check", "--settings"); status != 0 || !strings.Contains(out, "THREATMATCH_TLP_LEVEL (default amber)") {
		t.Errorf("settings: status %d, %s", status, out)
	}
}
