package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/goleak"
)

// isProgram is set in the environment of what is to be the program, and not its tests.
const isProgram = "TEST_IS_CONNECTOR_THREATMATCH"

func TestMain(m *testing.M) {
	if os.Getenv(isProgram) != "" {
		main() // which exits
	}
	goleak.VerifyTestMain(m)
}

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
	for _, args := range [][]string{{"fly"}, {"--nonsense"}, {"sandbox", "--profiles", "-1"}, {"sandbox", "--rabbitmq", "http://x"}, {"sandbox", "--data", "/no/such/folder"},
		{"sandbox", "--messages", "--serve"}, {"check", "--config", "--json"}} {
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

func TestEveryCommandAndFlagIsExplained(t *testing.T) {
	var visit func(at *cobra.Command)
	visit = func(at *cobra.Command) {
		status, out, problems := run(t, nil, append(strings.Fields(name(at)), "--help")...)
		if status != 0 || problems != "" || !strings.Contains(out, at.Short) || !strings.Contains(out, "--config PATH ") {
			t.Errorf("%s: status %d, %s%s", at.CommandPath(), status, out, problems)
		}
		at.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if explained := regexp.MustCompile(`(?m)^ .*--` + f.Name + ` .*  [A-Z0-9]`).MatchString(out); explained == f.Hidden {
				t.Errorf("%s --help does not explain --%s, or one that is hidden:\n%s", at.CommandPath(), f.Name, out)
			}
		})
		for _, c := range at.Commands() {
			if c.IsAvailableCommand() {
				visit(c)
			}
		}
	}
	visit(newCommandLine(console{}).root())
}

func TestWhatIsTypedHasOneMeaning(t *testing.T) {
	for _, args := range [][]string{
		{"-c", "a.yml", "check"}, {"check", "-ca.yml"}, {"--config=a.yml", "check"}, {"check", "--config", "a.yml"}, {"check", "-c=a.yml", "--json=false"},
	} {
		if status, _, problems := run(t, nil, args...); status != 2 || !strings.Contains(problems, "the configuration is wrong") || strings.Contains(problems, "--help") {
			t.Errorf("%q: status %d, %s", args, status, problems)
		}
	}
	for line, want := range map[string]string{
		"state": "show, reset", "state set-since alerts": "DATASET TIME", "state import": "FILE", "state export a b": `"b"`, "check x": `"x"`, "backfill": "one of --from",
		"backfill --status --cancel": "one of --from", "backfill --status --to P1D": "are for an order", "preview --items many": `--items: "many"`,
		"preview --dataset alerts,cats": `"cats" is not one of`, "completion csh": "bash", "backfill --from": "--from", "config docs x": "catalogue", "state set-since cats P1D": "profiles",
	} {
		if status, out, problems := run(t, nil, strings.Fields(line)...); status != 2 || out != "" || !strings.Contains(problems, want) || !strings.HasSuffix(problems, "(see --help)\n") {
			t.Errorf("%q: status %d, %s%s", line, status, out, problems)
		}
	}
}

func TestDatasetsAreNamedWithCommasAndOneByOne(t *testing.T) {
	var named []string
	at := &cobra.Command{}
	datasetFlag(at, &named, "")
	if err := at.ParseFlags([]string{"--dataset", "alerts,iocs", "--dataset=", "--dataset=reports"}); err != nil || !slices.Equal(named, []string{"alerts", "iocs", "reports"}) {
		t.Errorf("%v, %v", named, err)
	}
}

func TestAHomeIsFoundInAPath(t *testing.T) {
	t.Setenv("HOME", "/home/somebody")
	for text, want := range map[string]path{"~/a": "/home/somebody/a", "a/~/b": "a/~/b", "a": "a"} {
		var p path
		if err := p.Set(text); err != nil || p != want {
			t.Errorf("%s: %s, %v", text, p, err)
		}
	}
}
