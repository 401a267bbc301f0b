package deploy

import (
	"maps"
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
	// The settings lie beside the file, where each operator has others.
	dir := t.TempDir()
	for from, to := range map[string]string{
		"compose.yml": "compose.yml", "compose.opencti.yml": "compose.opencti.yml", "compose.datasets.yml": "compose.datasets.yml",
		"connector.env.sample": "connector.env",
	} {
		if err := os.WriteFile(filepath.Join(dir, to), []byte(read(t, from)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	own, onNetwork, secrets := filepath.Join(dir, "compose.yml"), filepath.Join(dir, "compose.opencti.yml"), filepath.Join(dir, "compose.secrets.yml")
	if err := os.WriteFile(secrets, []byte(strings.Join(fenced(t, "\n**Compose**, in", "\n**Kubernetes**: "), "")), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, files := range [][]string{{own}, {own, onNetwork}, {own, secrets}, {catalogue + "docker-compose.yml"}} {
		if out, err := load(files...); err != nil {
			t.Errorf("%q: %v\n%s", files, err, out)
		}
	}
	out, err := load(filepath.Join(dir, "compose.datasets.yml"))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	splitsTheDatasets(t, out)
	wrong := filepath.Join(dir, "wrong.yml")
	misspelled := strings.Replace(read(t, "compose.yml"), "mem_limit:", "memory_limit:", 1)
	if err := os.WriteFile(wrong, []byte(misspelled), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := load(wrong); err == nil || !strings.Contains(out, "memory_limit") {
		t.Errorf("a misspelled key passes: %v\n%s", err, out)
	}
}

// splitsTheDatasets wants of a Compose file, as Compose has read it, that its connectors share nothing that is one's own, and bring
// each dataset once.
func splitsTheDatasets(t *testing.T, text string) {
	t.Helper()
	var compose struct {
		Services map[string]struct {
			Memory      string            `yaml:"mem_limit"`
			Environment map[string]string `yaml:"environment"`
			Ports       []struct {
				HostIP    string `yaml:"host_ip"`
				Published string `yaml:"published"`
			} `yaml:"ports"`
			Volumes []struct {
				Source string `yaml:"source"`
				Target string `yaml:"target"`
			} `yaml:"volumes"`
		} `yaml:"services"`
	}
	if err := yaml.Unmarshal([]byte(text), &compose); err != nil {
		t.Fatal(err)
	}
	schema, owners, brought := read(t, catalogue+"__metadata__/connector_config_schema.json"), map[string]string{}, map[string]int{}
	for name, s := range compose.Services {
		if len(s.Ports) != 1 || s.Ports[0].HostIP != "127.0.0.1" || len(s.Volumes) != 1 || s.Volumes[0].Target != "/var/lib/connector-threatmatch" || s.Memory == "" {
			t.Errorf("%s is %+v", name, s)
			continue
		}
		for _, own := range []string{"port " + s.Ports[0].Published, "volume " + s.Volumes[0].Source, "id " + s.Environment["CONNECTOR_ID"], "name " + s.Environment["CONNECTOR_NAME"]} {
			if other := owners[own]; other != "" {
				t.Errorf("%s and %s have one %s", name, other, own)
			}
			owners[own] = name
		}
		for setting, value := range s.Environment {
			if setting != "CONNECTOR_ID" && !strings.Contains(schema, `"`+setting+`"`) {
				t.Errorf("%s: %s is no setting", name, setting)
			}
			if strings.HasPrefix(setting, "THREATMATCH_IMPORT_") && value == "true" {
				brought[setting]++
			}
		}
		// What is not said here all three read from connector.env.
		for _, dataset := range []string{"PROFILES", "ALERTS", "IOCS", "REPORTS"} {
			if s.Environment["THREATMATCH_IMPORT_"+dataset] == "" {
				t.Errorf("%s leaves %s to connector.env", name, dataset)
			}
		}
	}
	want := map[string]int{"THREATMATCH_IMPORT_PROFILES": 1, "THREATMATCH_IMPORT_ALERTS": 1, "THREATMATCH_IMPORT_IOCS": 1}
	if len(compose.Services) != 3 || !maps.Equal(brought, want) {
		t.Errorf("%d connectors bring %v", len(compose.Services), brought)
	}
}

// composeService is what the Compose file says of the connector, without its settings.
type composeService struct {
	Image      string   `yaml:"image"`
	PullPolicy string   `yaml:"pull_policy"`
	EnvFile    string   `yaml:"env_file"`
	Ports      []string `yaml:"ports"`
	Memory     string   `yaml:"mem_limit"`
	Patience   string   `yaml:"stop_grace_period"`
	Security   []string `yaml:"security_opt"`
	Tmpfs      []string `yaml:"tmpfs"`
	Logging    struct {
		Options map[string]string `yaml:"options"`
	} `yaml:"logging"`
	Environment any `yaml:"environment"`
	Build       struct {
		Args map[string]string `yaml:"args"`
	} `yaml:"build"`
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

func TestComposeBuildsWithTheGoOfTheDockerfileUnlessToldOtherwise(t *testing.T) {
	_, rest, _ := strings.Cut(read(t, "Dockerfile"), "ARG GO_IMAGE=")
	image, _, _ := strings.Cut(rest, "\n")
	if got := readCompose(t).Build.Args["GO_IMAGE"]; image == "" || got != "${GO_IMAGE:-"+image+"}" {
		t.Errorf("Compose builds with %q, the Dockerfile with %q", got, image)
	}
}

func TestTheSecretsOfComposeStayOutOfTheSource(t *testing.T) {
	s := readCompose(t)
	if s.EnvFile != "connector.env" || s.Environment != nil {
		t.Errorf("the settings come from %q and %v", s.EnvFile, s.Environment)
	}
	if !strings.Contains(read(t, "../.gitignore"), "\n/deploy/"+s.EnvFile+"\n") {
		t.Errorf("git takes %s", s.EnvFile)
	}
	for _, path := range []string{"README.md", "../README.md"} {
		if !strings.Contains(read(t, path), "\ninstall -m 600 deploy/connector.env.sample deploy/"+s.EnvFile+"\n") {
			t.Errorf("%s does not keep %s from others", path, s.EnvFile)
		}
	}
}

// Whoever goes from Compose to docker run, or types a command with the other, has the same state.
func TestTheVolumeHasOneName(t *testing.T) {
	var compose struct {
		Name    string `yaml:"name"`
		Volumes map[string]struct {
			Name string `yaml:"name"`
		} `yaml:"volumes"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "compose.yml")), &compose); err != nil {
		t.Fatal(err)
	}
	volume := compose.Volumes["threatmatch-state"].Name
	if compose.Name != "threatmatch" || !strings.Contains(read(t, "README.md"), "-v "+volume+":/var/lib/connector-threatmatch ") {
		t.Errorf("of %q the volume is %q, and docker run in README.md has another", compose.Name, volume)
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
