package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// foreignSettings are those of other connectors that change where data goes, and those that the Python connector had and gave up:
// ignoring them without a word would surprise. The names are those of the environment; see [foreignKey].
func foreignSettings() map[string]string {
	return map[string]string{
		"CONNECTOR_EXPOSE_METRICS_NAMESPACE":    "set CONNECTOR_METRICS_NAMESPACE instead",
		"CONNECTOR_CONFIDENCE_LEVEL":            "it was given up; OpenCTI takes the confidence from the connector's user",
		"CONNECTOR_UPDATE_EXISTING_DATA":        "it was given up; OpenCTI decides what an import updates",
		"THREATMATCH_THREAT_ACTOR_AS_INTRUSION": "set THREATMATCH_THREAT_ACTOR_AS_INTRUSION_SET instead",
	}
}

// givenUpKey says of a key of config.yml that the Python connector had and gave up, or never heeded, what to do, "" of any other.
func givenUpKey(key string) string {
	switch key {
	case "connector.interval":
		return "connector.duration_period takes its place; remove it"
	case "connector.confidence_level", "connector.update_existing_data":
		return foreignKey(key) + "; remove it"
	}
	return ""
}

// asksForNothingElse reports whether a foreign setting has a value that asks for what happens anyhow.
func asksForNothingElse(value string) bool {
	on, isBool := parseBool(strings.TrimSpace(value))
	return isBool && !on
}

// foreignKey returns what [foreignSettings] says of a key of config.yml, "" for nothing: section and key are spelled there as
// the environment has them.
func foreignKey(key string) string {
	return foreignSettings()[strings.ToUpper(strings.ReplaceAll(key, keyDelimiter, "_"))]
}

// unknownVariables warns of foreign settings, of everything with our own prefix that is no setting, of what is spelled nearly as one,
// and of settings in whose place stands the link to a service. Much else may stand in an environment that several programs share.
func unknownVariables(vars map[string]string, known []string) []Warning {
	var found []Warning
	foreign := foreignSettings()
	// Others have files for passwords too, and their names are nearly the same.
	meant := slices.DeleteFunc(slices.Clone(known), func(k string) bool { return strings.HasSuffix(k, fileSuffix) })
	for name, value := range vars {
		advice, listed := foreign[name]
		switch ours := slices.Contains(known, name); {
		case ours && isServiceLink(name, value):
			found = append(found, Warning(name+" is ignored: it is no port but the link to a service of that name, which Kubernetes and Docker set; enableServiceLinks: false keeps Kubernetes from it"))
		case ours, isServiceLink(name, value), listed && asksForNothingElse(value):
		case listed:
			found = append(found, Warning(fmt.Sprintf("%s is ignored: %s", name, advice)))
		default:
			if warning := unknownVariable(name, meant); warning != "" {
				found = append(found, warning)
			}
		}
	}
	slices.Sort(found)
	return found
}

// unknownVariable warns of a variable that is no setting, "" where that may be right.
func unknownVariable(name string, known []string) Warning {
	base, isFile := strings.CutSuffix(name, fileSuffix)
	meant := meantSetting(name, known)
	switch {
	case isFile && slices.Contains(known, base):
		return Warning(fmt.Sprintf("%s is no setting and is ignored, for only secrets are read from files like that; set %s", name, base))
	case meant != "":
		return Warning(fmt.Sprintf("%s is no setting and is ignored; did you mean %s?", name, meant))
	case strings.HasPrefix(name, "THREATMATCH_"):
		return Warning(name + " is no setting and is ignored; `config show --explain` lists all that there are")
	}
	return ""
}

// meantSetting returns the setting that a name is probably a misspelling of, "" where there is none.
func meantSetting(name string, known []string) string {
	ours := hasAnyPrefix(name, "THREATMATCH_", "CONNECTOR_", "OPENCTI_", "MQ_")
	best, typos := nearestName(strings.ToUpper(name), known)
	switch added, longer := strings.CutPrefix(strings.ToUpper(name), best); {
	case longer && len(added) > 1: // another word, such as CONNECTOR_IDLE, or one of the endings below
	// A name of another program differs from a short one of ours in a few letters too, such as OPENCTI_PORT and COLLECTOR_ID.
	case ours && typos <= min(3, len(best)/5), typos <= len(best)/11:
		return best
	case !ours:
		return ""
	}
	var begun []string
	for _, k := range known {
		switch rest, longer := strings.CutPrefix(name, k); {
		case longer && (rest == "NAME" || rest == "WORD"): // MQ_HOSTNAME, MQ_PASSWORD
			return k
		case strings.HasPrefix(withoutUnderscores(k), withoutUnderscores(name)):
			begun = append(begun, k)
		}
	}
	if len(begun) == 1 {
		return begun[0]
	}
	return ""
}

func withoutUnderscores(s string) string { return strings.ReplaceAll(s, "_", "") }

var (
	serviceLinkName  = regexp.MustCompile(`_SERVICE_(HOST|PORT)(_\w+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?$`)
	serviceLinkValue = regexp.MustCompile(`^\s*(tcp|udp|sctp)://`)
)

// isServiceLink reports whether Kubernetes or Docker sets a variable in each container for a service beside it, as for one that is
// called threatmatch.
func isServiceLink(name, value string) bool {
	return serviceLinkName.MatchString(name) || strings.HasSuffix(name, "_PORT") && serviceLinkValue.MatchString(value)
}
