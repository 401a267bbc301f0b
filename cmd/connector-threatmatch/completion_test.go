package main

import (
	"os/exec"
	"strings"
	"testing"
)

func TestBashCompletesDatasetsAndNamesOfFiles(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not installed")
	}
	_, script, _ := run(t, nil, "completion", "bash")
	const ask = `eval "$1"; shift
compopt() { echo FILES; }
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_connector_threatmatch
echo ${COMPREPLY[*]}`
	for line, want := range map[string]string{
		"preview --dataset ":        "profiles alerts reports iocs",
		"backfill --dataset ":       "profiles alerts reports iocs",
		"backfill --dataset = i":    "iocs",
		"state set-since ":          "profiles alerts reports iocs",
		"state set-since --yes al":  "alerts",
		"state import ":             "FILES",
		"state export ":             "FILES",
		"-c ":                       "FILES",
		"check --config ":           "FILES",
		"--config a.yml run -c = a": "FILES",
	} {
		words := append([]string{"--norc", "-c", ask, "bash", script, "connector-threatmatch"}, strings.Split(line, " ")...)
		out, err := exec.CommandContext(t.Context(), bash, words...).CombinedOutput()
		if got := strings.Join(strings.Fields(string(out)), " "); err != nil || got != want {
			t.Errorf("%q: %q, want %q (%v)", line, got, want, err)
		}
	}
}
