package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// readEnvironment reads the settings of an environment. Blank ones count as not set: compose files write them for
// variables that nobody gave a value. What looks like a misspelled setting, and what other connectors know but this one
// does not, gives a warning.
func readEnvironment(environ []string, table []setting) (readings, []Problem, []Warning) {
	r := readings{values: map[string]reading{}}
	vars := map[string]string{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if strings.TrimSpace(value) != "" {
			vars[name] = value
		}
	}
	var problems []Problem
	var known []string
	for _, s := range table {
		for _, name := range s.spellings() {
			known = append(known, name)
			value, set := vars[name]
			if !set {
				continue
			}
			first, twice := r.values[s.key()]
			switch {
			case !twice:
				r.values[s.key()] = reading{text: value, name: name}
			case !slices.Contains(s.also, name) && !sameText(first.text, value):
				problems = append(problems, Problem{Name: first.name + " and " + name, Advice: "are two spellings of one setting and differ; keep one"})
			}
		}
	}
	return r, problems, unknownVariables(vars, known)
}

// spellings lists the environment variables that set s, the preferred first.
func (s setting) spellings() []string {
	return slices.Concat([]string{s.env}, s.old, s.also)
}

func sameText(a, b string) bool {
	return strings.EqualFold(strings.TrimSpace(a), strings.TrimSpace(b))
}

// maxTypos is how many letters may be wrong in a name that is taken for a misspelled setting.
const maxTypos = 3

// foreignSettings are those of other connectors that change where data goes: ignoring them without a word would surprise.
func foreignSettings() map[string]string {
	return map[string]string{
		"THREATMATCH_INTERVAL":                  "set CONNECTOR_DURATION_PERIOD instead",
		"CONNECTOR_QUEUE_PROTOCOL":              "this connector always publishes to RabbitMQ",
		"CONNECTOR_SEND_TO_QUEUE":               "this connector always publishes to RabbitMQ",
		"CONNECTOR_SEND_TO_DIRECTORY":           "this connector always publishes to RabbitMQ",
		"CONNECTOR_SEND_TO_S3":                  "this connector always publishes to RabbitMQ",
		"CONNECTOR_VALIDATE_BEFORE_IMPORT":      "this connector always imports directly",
		"CONNECTOR_EXPOSE_METRICS_NAMESPACE":    "set CONNECTOR_METRICS_NAMESPACE instead",
		"CONNECTOR_CONFIDENCE_LEVEL":            "OpenCTI takes it from the connector's user",
		"CONNECTOR_UPDATE_EXISTING_DATA":        "OpenCTI decides what an import updates",
		"THREATMATCH_THREAT_ACTOR_AS_INTRUSION": "set THREATMATCH_THREAT_ACTOR_AS_INTRUSION_SET instead",
	}
}

func unknownVariables(vars map[string]string, known []string) []Warning {
	var found []Warning
	foreign := foreignSettings()
	for name, value := range vars {
		switch advice, listed := foreign[name]; {
		case slices.Contains(known, name):
		case listed:
			if on, isBool := parseBool(strings.TrimSpace(value)); isBool && !on && name != "CONNECTOR_SEND_TO_QUEUE" {
				continue
			}
			found = append(found, Warning(fmt.Sprintf("%s is ignored: %s", name, advice)))
		case hasAnyPrefix(name, "THREATMATCH_", "CONNECTOR_", "OPENCTI_", "MQ_"):
			if best, typos := nearestName(name, known); typos <= maxTypos {
				found = append(found, Warning(fmt.Sprintf("%s is no setting and is ignored; did you mean %s?", name, best)))
			}
		}
	}
	slices.Sort(found)
	return found
}

func hasAnyPrefix(name string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// hiddenByFile warns about environment variables that have no effect because the file says otherwise.
func hiddenByFile(file, env readings, table []setting) []Warning {
	var found []Warning
	for _, s := range table {
		inFile, ok := file.values[s.key()]
		inEnv, both := env.values[s.key()]
		if ok && both && strings.TrimSpace(inFile.text) != strings.TrimSpace(inEnv.text) {
			found = append(found, Warning(fmt.Sprintf("%s in %s (line %d) hides the environment variable %s",
				inFile.name, file.path, inFile.line, inEnv.name)))
		}
	}
	return found
}

// Recognised returns the variables of an environment that set something, with their values: those that are not blank and
// spell a setting whose name begins with one of the prefixes.
func Recognised(environ []string, prefixes ...string) map[string]string {
	found := map[string]string{}
	for _, s := range allSettings(time.Now()) {
		if !hasAnyPrefix(s.env, prefixes...) {
			continue
		}
		for _, pair := range environ {
			if name, value, _ := strings.Cut(pair, "="); slices.Contains(s.spellings(), name) && strings.TrimSpace(value) != "" {
				found[name] = value
			}
		}
	}
	return found
}
