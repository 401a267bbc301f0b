package deploy

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// partOfSecrets is what README.md shows for one of those who run the connector.
func partOfSecrets(t *testing.T, from, to string) string {
	t.Helper()
	_, rest, begun := strings.Cut(read(t, "README.md"), from)
	part, _, ended := strings.Cut(rest, to)
	if !begun || !ended {
		t.Fatalf("README.md has no part from %q to %q", from, to)
	}
	return part
}

func TestTheFilesOfSecretsThatTheReadmeShowsAreSettings(t *testing.T) {
	var schema struct {
		Properties map[string]any `json:"properties"`
	}
	if err := json.Unmarshal([]byte(read(t, catalogue+"__metadata__/connector_config_schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`[A-Z_]+_FILE\b`).FindAllString(partOfSecrets(t, "\n### Secrets from files\n", "\n## The volume\n"), -1)
	if len(names) < 5 {
		t.Errorf("README.md names %q only", names)
	}
	for _, name := range names {
		if _, there := schema.Properties[name]; !there {
			t.Errorf("%s is no setting", name)
		}
	}
}

func TestKubernetesMountsTheSecretsThatTheReadmeShows(t *testing.T) {
	dir := t.TempDir()
	base, err := filepath.Abs("kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		t.Fatal(err)
	}
	if base, err = filepath.Rel(dir, base); err != nil {
		t.Fatal(err)
	}
	text := "resources:\n  - " + base + "\n" + strings.Join(fenced(t, "\n**Kubernetes**: the", "\n**systemd** "), "")
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	made := string(manifests(t, dir))
	for _, want := range []string{
		"- name: OPENCTI_TOKEN_FILE\n", "value: /run/secrets/threatmatch/threatmatch_client_secret\n", "mountPath: /run/secrets/threatmatch\n",
		"secretName: connector-threatmatch-files\n", "- name: CONNECTOR_STATE_DIR\n", "mountPath: /tmp\n",
	} {
		if !strings.Contains(made, want) {
			t.Errorf("what README.md shows does not make %q", want)
		}
	}
	if err := judge(t, []byte(made), strictSchemas(t)); err != nil {
		t.Error(err)
	}
}

func TestSystemdUnderstandsTheCredentialThatTheReadmeShows(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("the unit is not verified: systemd-analyze is not installed; make test installs it")
	}
	_, block, _ := strings.Cut(partOfSecrets(t, "\n**systemd** ", "\n## The volume\n"), "```\n")
	block, _, found := strings.Cut(block, "```")
	if !found || !strings.Contains(block, "%d/") {
		t.Fatalf("README.md shows no credential: %s", block)
	}
	text := strings.Replace(read(t, unit), "\nExecStart=/usr/local/bin/connector-threatmatch\n", "\nExecStart=/bin/sh\n", 1)
	path := filepath.Join(t.TempDir(), filepath.Base(unit))
	if err := os.WriteFile(path, []byte(text+"\n"+block), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", path).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
