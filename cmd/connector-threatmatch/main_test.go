package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
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
	for _, args := range [][]string{{}, {"run"}, {"config", "check"}, {"config", "check", "--config", os.DevNull}} {
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

func TestWhoMistypesIsToldWhatIsNear(t *testing.T) {
	for _, tt := range []struct {
		args []string
		near string
	}{
		{[]string{"chekc"}, `"check"`},
		{[]string{"--config", "a.yml", "previw"}, `"preview"`},
		{[]string{"state", "shwo"}, `"show"`},
		{[]string{"--confg", "a.yml"}, `"--config"`},
		{[]string{"check", "--jsn"}, `"--json"`},
	} {
		if status, _, problems := run(t, nil, tt.args...); status != 2 || !strings.Contains(problems, "did you mean "+tt.near) {
			t.Errorf("%q: status %d, %s", tt.args, status, problems)
		}
	}
}

func TestHelpAndVersionNeedNoConfiguration(t *testing.T) {
	if status, out, _ := run(t, nil, "--help"); status != 0 || !strings.Contains(out, "sandbox") {
		t.Errorf("--help: status %d, %s", status, out)
	}
	for _, args := range [][]string{{"version"}, {"--version"}} {
		if status, out, _ := run(t, nil, args...); status != 0 || !strings.HasPrefix(out, "version  ") || !strings.Contains(out, "\ncommit   ") || !strings.Contains(out, runtime.Version()) {
			t.Errorf("%q: status %d, %q", args, status, out)
		}
	}
	var made build
	if status, out, _ := run(t, nil, "version", "--json"); status != 0 || json.Unmarshal([]byte(out), &made) != nil || made != thisBuild() {
		t.Errorf("version --json: status %d, %s", status, out)
	}
}

func TestShellsLearnTheCommandsAndFlags(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		status, out, problems := run(t, nil, "completion", shell)
		if status != 0 {
			t.Errorf("%s: status %d, %s", shell, status, problems)
		}
		for _, want := range []string{"connector-threatmatch", "sandbox", "config sample", "compose", "indicators"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s does not offer %s", shell, want)
			}
		}
	}
	if status, _, problems := run(t, nil, "completion", "csh"); status != 2 || !strings.Contains(problems, "bash") {
		t.Errorf("an unknown shell: status %d, %s", status, problems)
	}
}
