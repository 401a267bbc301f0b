package config

import (
	"fmt"
	"strings"
	"time"
)

// The samples hold what an operator has to set, with a placeholder, and everything else commented out.

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

// SampleEnv is an environment file.
func SampleEnv() string {
	var b strings.Builder
	for _, s := range allSettings(time.Now()) {
		fmt.Fprintf(&b, "# %s\n%s%s=%s\n", strings.ReplaceAll(s.about, "`", ""), s.commentedOut("#"), s.env, s.sample())
	}
	return b.String()
}

// SampleCompose is a compose file with the connector alone.
func SampleCompose() string {
	var b strings.Builder
	b.WriteString("services:\n  connector-threatmatch:\n    image: opencti/connector-threatmatch:rolling\n    environment:\n")
	for _, s := range allSettings(time.Now()) {
		fmt.Fprintf(&b, "      %s- %s=%s\n", s.commentedOut("# "), s.env, s.sample())
	}
	b.WriteString("    volumes:\n      - threatmatch-state:/var/lib/connector-threatmatch\n    restart: always\n\nvolumes:\n  threatmatch-state:\n")
	return b.String()
}

// SampleYAML is a config.yml.
func SampleYAML() string {
	var b strings.Builder
	section := ""
	for _, s := range allSettings(time.Now()) {
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
