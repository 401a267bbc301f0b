package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// offers are command lines up to the cursor, with what shells are told that can stand there; "FILES" leaves it to them.
func offers() map[string]string {
	return map[string]string{
		"":                         "backfill check completion config health preview run sandbox state version",
		"che":                      "check",
		"--config a.yml s":         "sandbox state",
		"state ":                   "export import reset set-since show",
		"config ":                  "check sample schema show",
		"check -":                  "--config --help --json --version -c -h",
		"check --":                 "--config --help --json --version",
		"preview --no":             "--no-progress",
		"preview --dataset ":       "alerts iocs profiles reports",
		"backfill --dataset ":      "alerts iocs profiles reports",
		"backfill --dataset=":      "alerts iocs profiles reports",
		"state set-since ":         "alerts iocs profiles reports",
		"state set-since --yes al": "alerts",
		"state set-since alerts ":  "",
		"config sample --format ":  "compose env yaml",
		"config schema --for ":     "env yaml",
		"completion ":              "bash fish zsh",
		"check ":                   "",
		"health x":                 "",
		"backfill --from ":         "",
		"state import ":            "FILES",
		"state export ":            "FILES",
		"-c ":                      "FILES",
		"check --config ":          "FILES",
		"sandbox --messages ":      "FILES",
		"sandbox --data ":          "FILES",
		"preview --output ":        "FILES",
		"--config a.yml check --":  "--help --json --version",
	}
}

func TestShellsAreToldWhatCanStandThere(t *testing.T) {
	for line, want := range offers() {
		status, out, problems := run(t, nil, append([]string{"__completeNoDesc"}, strings.Split(line, " ")...)...)
		said := strings.Fields(out)
		directive := said[len(said)-1]
		if said = said[:len(said)-1]; directive == ":0" {
			said = append(said, "FILES")
		}
		slices.Sort(said)
		if got := strings.Join(said, " "); status != 0 || got != want {
			t.Errorf("%q: status %d, %q, want %q\n%s", line, status, got, want, problems)
		}
	}
}

// asProgram is a folder in which the program is to be had under its name, and an environment to find it in.
func asProgram(t *testing.T) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(self, filepath.Join(dir, "connector-threatmatch")); err != nil {
		t.Fatal(err)
	}
	return append(os.Environ(), isProgram+"=1", "PATH="+dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
}

func TestAShellOffersWhatItIsTold(t *testing.T) {
	const bashCompletion = "/usr/share/bash-completion/bash_completion"
	for shell, ask := range map[string][]string{
		"bash": {"--norc", "-c", `source ` + bashCompletion + ` && compopt() { :; }; eval "$(connector-threatmatch completion bash)" || exit 1
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9 COMP_KEY=9
COMP_WORDS=(${1}) ; [[ $1 == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
__start_connector-threatmatch; printf '%s\n' "${COMPREPLY[@]}"`, "bash"},
		"fish": {"--no-config", "-c", `connector-threatmatch completion fish | source; complete -C $argv[1]; true`},
	} {
		t.Run(shell, func(t *testing.T) {
			if _, err := os.Stat(bashCompletion); shell == "bash" && err != nil {
				t.Skip("bash-completion is not installed")
			}
			path, err := exec.LookPath(shell)
			if err != nil {
				t.Skipf("%s is not installed", shell)
			}
			for line, want := range map[string]string{"state sh": "show", "check --js": "--json", "backfill --dataset al": "alerts"} {
				cmd := exec.CommandContext(t.Context(), path, append(slices.Clone(ask), "connector-threatmatch "+line)...)
				cmd.Env = asProgram(t)
				out, err := cmd.CombinedOutput()
				if said := strings.Fields(string(out)); err != nil || len(said) == 0 || said[0] != want {
					t.Errorf("%q: %v, %q, want %q", line, err, out, want)
				}
			}
		})
	}
}
