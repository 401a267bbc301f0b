package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// readEnvironment reads the settings of an environment. Blank ones count as not set, but for those that a blank text switches off:
// compose files write them for variables that nobody gave a value. So do links to services, as in MQ_PORT beside a service that is called mq, and they give a
// warning, as does what looks like a misspelled setting, and what other connectors know but this one does not.
func readEnvironment(environ []string, table []setting) (readings, []Problem, []Warning) {
	r := readings{values: map[string]reading{}}
	vars, blank := map[string]string{}, map[string]bool{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if blank[name] = strings.TrimSpace(value) == ""; !blank[name] {
			vars[name] = value
		}
	}
	var problems []Problem
	var known []string
	for _, s := range table {
		for _, name := range s.spellings() {
			known = append(known, name)
			value, set := vars[name]
			set = set || s.blankOff && blank[name]
			if !set || isServiceLink(name, value) {
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
		if name := s.fileVariable(); name != "" {
			known = append(known, name)
			if value, set := vars[name]; set {
				problems = append(problems, r.addSecretFile(s.key(), name, value)...)
			}
		}
	}
	return r, problems, unknownVariables(vars, known)
}

// addSecretFile reads the secret of a setting from a file. Which of two places should count nobody could guess, least of all after one
// of them was changed.
func (r readings) addSecretFile(key, name, path string) []Problem {
	if first, twice := r.values[key]; twice {
		return []Problem{{Name: first.name + " and " + name, Advice: "both hold the secret; keep one of them"}}
	}
	r.values[key] = readSecretFile(name, path)
	return nil
}

// spellings lists the environment variables that set s, the preferred first.
func (s setting) spellings() []string {
	return slices.Concat([]string{s.env}, s.old, s.also)
}

func sameText(a, b string) bool {
	return strings.EqualFold(strings.TrimSpace(a), strings.TrimSpace(b))
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
