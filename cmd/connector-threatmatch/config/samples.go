package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The samples hold what an operator has to set, with a placeholder, and everything else commented out. Those of OpenCTI's
// catalogue, where all connectors look alike, leave out what does not begin with a prefix of the connector's: the catalogue's
// documentation has that, and the files that may hold secrets.

// inCatalogue reports that the catalogue's samples have the setting.
func (s setting) inCatalogue() bool {
	return hasAnyPrefix(s.env, "OPENCTI_", "CONNECTOR_", "THREATMATCH_")
}

func sampled(catalogue bool) []setting {
	return slices.DeleteFunc(allSettings(time.Now()), func(s setting) bool { return s.successor != "" || catalogue && !s.inCatalogue() })
}

// sampleURL is what the samples say for OPENCTI_URL, as all connectors of the catalogue do.
const sampleURL = "http://localhost"

func (s setting) sample() string {
	switch {
	case s.env == "OPENCTI_URL":
		return sampleURL
	case s.def == "":
		return samplePlaceholder
	}
	return s.def
}

// sampleFile is where Compose mounts the secret, under its name in lower case.
func (s setting) sampleFile() string { return "/run/secrets/" + strings.ToLower(s.env) }

// SampleEnv is an environment file.
func SampleEnv() string { return sampleEnv(sampled(false), true) }

// CatalogueEnv is the environment file of OpenCTI's catalogue.
func CatalogueEnv() string { return sampleEnv(sampled(true), false) }

func sampleEnv(table []setting, withFiles bool) string {
	var b strings.Builder
	for _, s := range table {
		fmt.Fprintf(&b, "# %s\n%s%s=%s\n", strings.ReplaceAll(s.about, "`", ""), s.commentedOut("#"), s.env, s.sample())
		if s.secret && withFiles {
			fmt.Fprintf(&b, "# In its place, the path of a file that holds it.\n#%s=%s\n", s.fileVariable(), s.sampleFile())
		}
	}
	return b.String()
}

// SampleCompose is a compose file with the connector alone, in the image that `make image` builds. It is never pulled: by the
// catalogue's name registries have another program.
func SampleCompose() string {
	return sampleCompose("connector-threatmatch-go:latest\n    pull_policy: never", sampled(false), true)
}

// CatalogueCompose is the compose file of OpenCTI's catalogue, which names the latest release.
func CatalogueCompose() string {
	return sampleCompose("opencti/connector-threatmatch:latest", sampled(true), false)
}

func sampleCompose(image string, table []setting, withFiles bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "services:\n  connector-threatmatch:\n    image: %s\n    environment:\n", image)
	for _, s := range table {
		fmt.Fprintf(&b, "      %s- %s=%s\n", s.commentedOut("# "), s.env, s.sample())
		if s.secret && withFiles {
			fmt.Fprintf(&b, "      # - %s=%s\n", s.fileVariable(), s.sampleFile())
		}
	}
	b.WriteString("    volumes:\n      - threatmatch-state:/var/lib/connector-threatmatch\n    restart: always\n\nvolumes:\n  threatmatch-state:\n")
	return b.String()
}

// SampleYAML is a config.yml.
func SampleYAML() string { return sampleYAML(sampled(false)) }

// CatalogueYAML is the config.yml of OpenCTI's catalogue.
func CatalogueYAML() string { return sampleYAML(sampled(true)) }

func sampleYAML(table []setting) string {
	var b strings.Builder
	section := ""
	for _, s := range table {
		name, key, inFile := strings.Cut(s.path, keyDelimiter)
		if !inFile {
			continue
		}
		if name != section {
			if section != "" {
				b.WriteString("\n")
			}
			section = name
			fmt.Fprintf(&b, "%s:\n", section)
		}
		fmt.Fprintf(&b, "  # %s\n  %s%s: %s\n", strings.ReplaceAll(s.about, "`", ""), s.commentedOut("# "), key, yamlScalar(s.sample()))
	}
	return b.String()
}

func (s setting) commentedOut(with string) string {
	if s.required {
		return ""
	}
	return with
}

// yamlScalar quotes what a reader could take for something else than text.
func yamlScalar(text string) string {
	if strings.ContainsAny(text, ":#{}[],&*'\"|>%@`") {
		return "'" + strings.ReplaceAll(text, "'", "''") + "'"
	}
	return text
}
