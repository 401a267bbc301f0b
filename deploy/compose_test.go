package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// composeSpec reads Compose files as Docker's Compose does: it is the reference of the Compose specification, with its schema.
const composeSpec = "github.com/compose-spec/compose-go/v2/cmd@v2.16.2"

func TestTheComposeFilesFollowTheSpecification(t *testing.T) {
	tools := t.TempDir()
	install := exec.CommandContext(t.Context(), "go", "install", composeSpec)
	install.Env = append(os.Environ(), "GOBIN="+tools)
	if out, err := install.CombinedOutput(); err != nil {
		t.Skipf("the Compose files are not read by Compose: %s cannot be installed: %s", composeSpec, out)
	}
	load := func(files ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), filepath.Join(tools, "cmd"), append([]string{"-no-interpolation"}, files...)...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, files := range [][]string{{"compose.yml"}, {"compose.yml", "compose.opencti.yml"}, {catalogue + "docker-compose.yml"}} {
		if out, err := load(files...); err != nil {
			t.Errorf("%q: %v\n%s", files, err, out)
		}
	}
	wrong := filepath.Join(t.TempDir(), "compose.yml")
	misspelled := strings.Replace(read(t, "compose.yml"), "mem_limit:", "memory_limit:", 1)
	if err := os.WriteFile(wrong, []byte(misspelled), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := load(wrong); err == nil || !strings.Contains(out, "memory_limit") {
		t.Errorf("a misspelled key passes: %v\n%s", err, out)
	}
}

// composeService is what the Compose file says of the connector, without its settings.
type composeService struct {
	Image      string   `yaml:"image"`
	PullPolicy string   `yaml:"pull_policy"`
	Ports      []string `yaml:"ports"`
	Memory     string   `yaml:"mem_limit"`
	Patience   string   `yaml:"stop_grace_period"`
	Security   []string `yaml:"security_opt"`
	Tmpfs      []string `yaml:"tmpfs"`
	Logging    struct {
		Options map[string]string `yaml:"options"`
	} `yaml:"logging"`
}

func readCompose(t *testing.T) composeService {
	t.Helper()
	var compose struct {
		Services map[string]composeService `yaml:"services"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "compose.yml")), &compose); err != nil {
		t.Fatal(err)
	}
	return compose.Services["connector-threatmatch"]
}

func TestComposeBuildsTheImageAndNeverPullsAnother(t *testing.T) {
	s := readCompose(t)
	if s.PullPolicy != "build" || s.Image != "connector-threatmatch-go:latest" {
		t.Errorf("the image is %s, and the policy %s", s.Image, s.PullPolicy)
	}
	if !strings.Contains(read(t, "../Makefile"), "\nIMAGE       ?= "+s.Image+"\n") {
		t.Errorf("make image does not build %s", s.Image)
	}
	for _, path := range []string{"README.md", "../README.md"} {
		if strings.Contains(read(t, path), "opencti/connector-threatmatch") {
			t.Errorf("%s names the catalogue's image, which is another program", path)
		}
	}
}

func TestTheServiceHasLimits(t *testing.T) {
	s := readCompose(t)
	if s.Memory != "256m" || s.Patience != "30s" || s.Logging.Options["max-size"] == "" || s.Logging.Options["max-file"] == "" {
		t.Errorf("%+v", s)
	}
	if !slices.Equal(s.Ports, []string{"127.0.0.1:9096:9096"}) {
		t.Errorf("others than this machine see the ports %q", s.Ports)
	}
	if !slices.Equal(s.Security, []string{"no-new-privileges:true"}) || !slices.Equal(s.Tmpfs, []string{"/tmp"}) {
		t.Errorf("%+v", s)
	}
}
