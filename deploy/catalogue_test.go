package deploy

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

func TestTheCataloguesSamplesHoldNothingWithoutThePrefixesOfAConnector(t *testing.T) {
	named := regexp.MustCompile(`(?m)^(?: *# | *- | *|#)(?:- )?([A-Z][A-Z0-9_]*)=`)
	for path, some := range map[string]string{catalogue + ".env.sample": "CONNECTOR_LOG_LEVEL", catalogue + "docker-compose.yml": "THREATMATCH_LABELS"} {
		var names []string
		for _, match := range named.FindAllStringSubmatch(read(t, path), -1) {
			names = append(names, match[1])
			if !regexp.MustCompile(`^(OPENCTI|CONNECTOR|THREATMATCH)_`).MatchString(match[1]) {
				t.Errorf("%s has %s", path, match[1])
			}
		}
		if !slices.Contains(names, some) {
			t.Errorf("%s is not read as it is written: %q", path, names)
		}
	}
	sections := regexp.MustCompile(`(?m)^(\w+):$`).FindAllString(read(t, catalogue+"config.yml.sample"), -1)
	if !slices.Equal(sections, []string{"opencti:", "connector:", "threatmatch:"}) {
		t.Errorf("config.yml.sample has %q", sections)
	}
	for _, name := range []string{"MQ_HOST", "HTTP_PROXY", "HTTPS_CA_CERTIFICATES"} {
		if !strings.Contains(read(t, catalogue+"__metadata__/CONNECTOR_CONFIG_DOC.md"), "| "+name+" |") {
			t.Errorf("%s is not in the documentation either", name)
		}
	}
}

func TestTheCatalogueNamesTheLatestImageInItsSampleAndTheRollingOneInItsManifest(t *testing.T) {
	var compose struct {
		Services map[string]struct {
			Image string `yaml:"image"`
		} `yaml:"services"`
	}
	if err := yaml.Unmarshal([]byte(read(t, catalogue+"docker-compose.yml")), &compose); err != nil {
		t.Fatal(err)
	}
	// The manifest's side is in TestTheManifestSaysWhatTheCatalogueAsksFor.
	if s := compose.Services["connector-threatmatch"]; len(compose.Services) != 1 || s.Image != "opencti/connector-threatmatch:latest" {
		t.Errorf("%+v", compose)
	}
}

// In the catalogue the whole source lies in the connector's folder, which is what is built there, as it is here.
func TestTheCatalogueBuildsTheSameImage(t *testing.T) {
	const copied = catalogue + "Dockerfile"
	dockerfile := read(t, "Dockerfile")
	if *update {
		if err := os.WriteFile(copied, []byte(dockerfile), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if read(t, copied) != dockerfile {
		t.Errorf("%s is not deploy/Dockerfile: go test ./deploy -update", copied)
	}
}
