package config

import (
	"slices"
	"strings"
)

// filterSettings say what is left out of what ThreatMatch holds, and what is added to it. All of it is off by default.
func filterSettings() []setting {
	return []setting{
		{env: "THREATMATCH_MAX_TLP", path: "threatmatch.max_tlp",
			value: into(oneOf(tlpSpelling, TLPClear, TLPWhite, TLPGreen, TLPAmber, TLPAmberStrict, TLPRed), func(c *Config) *TLP { return &c.ThreatMatch.MaxTLP }),
			about: "Strictest marking to import; what is marked more strictly, or would be by `THREATMATCH_TLP_LEVEL`, is left out."},
		{env: "THREATMATCH_TYPES", path: "threatmatch.types",
			value: into(stixTypes(), func(c *Config) *[]string { return &c.ThreatMatch.Types }),
			about: "The only STIX types to import, comma separated, such as `indicator,malware`. Relations between what is imported, identities and locations come too, and observables of indicators where `THREATMATCH_CREATE_OBSERVABLES` makes them."},
		{env: "THREATMATCH_EXCLUDE_TYPES", path: "threatmatch.exclude_types",
			value: into(stixTypes(), func(c *Config) *[]string { return &c.ThreatMatch.ExcludeTypes }),
			about: "STIX types to leave out, comma separated."},
		{env: "THREATMATCH_MIN_CONFIDENCE", path: "threatmatch.min_confidence",
			value: into(wholeNumber(0, 100), func(c *Config) *int { return &c.ThreatMatch.MinConfidence }),
			about: "Least `confidence` to import. Objects that state none pass."},
		{env: "THREATMATCH_MIN_SCORE", path: "threatmatch.min_score",
			value: into(wholeNumber(0, 100), func(c *Config) *int { return &c.ThreatMatch.MinScore }),
			about: "Least score (`x_opencti_score`) to import. Objects that state none pass, whatever `THREATMATCH_SCORE` gives them."},
		{env: "THREATMATCH_TAGS", path: "threatmatch.tags",
			value: into(tags(), func(c *Config) *[]string { return &c.ThreatMatch.Tags }),
			about: "Of actors, campaigns, malware, tools, infrastructure, incidents, reports, indicators and observables only those to import that bear one of these labels, comma separated; semicolons instead where a label has a comma in it."},
		{env: "THREATMATCH_EXCLUDE_TAGS", path: "threatmatch.exclude_tags",
			value: into(tags(), func(c *Config) *[]string { return &c.ThreatMatch.ExcludeTags }),
			about: "Labels of what is left out, written like `THREATMATCH_TAGS`."},
		{env: "THREATMATCH_CREATE_OBSERVABLES", path: "threatmatch.create_observables", def: "false",
			why:   "it changes what OpenCTI's users find, and makes three messages of most indicators",
			value: into(boolean(), func(c *Config) *bool { return &c.ThreatMatch.CreateObservables }),
			about: "Make observables of the addresses, domains, URLs, hashes and e-mail addresses in the patterns of indicators, and relations `based-on` to them."},
		{env: "THREATMATCH_SCORE", path: "threatmatch.score",
			value: into(optionalWholeNumber(0, 100), func(c *Config) **int { return &c.ThreatMatch.Score }),
			about: "Score of indicators and observables that come without one. Unless it is set OpenCTI gives indicators 50."},
	}
}

// FilterableTypes are the STIX types to filter by.
func FilterableTypes() []string {
	return strings.Fields(`attack-pattern campaign course-of-action data-component data-source event grouping identity incident indicator
		infrastructure intrusion-set location malware malware-analysis narrative note observed-data opinion report threat-actor tool
		vulnerability relationship sighting autonomous-system domain-name email-addr file hostname ipv4-addr ipv6-addr mac-addr mutex
		network-traffic process software url user-account user-agent windows-registry-key x509-certificate`)
}

// stixTypes reads some of [FilterableTypes].
func stixTypes() kind[[]string] {
	separated := commaSeparated()
	return kind[[]string]{
		parse: func(s string) ([]string, bool) {
			names, ok := separated.parse(strings.ToLower(s))
			unknown := slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(FilterableTypes(), name) })
			return names, ok && !unknown
		},
		says: "some of " + strings.Join(FilterableTypes(), ", ") + ", separated by commas",
		typ:  separated.typ,
	}
}

// tags reads labels. Those of ThreatMatch can have commas in them; then semicolons stand between them.
func tags() kind[[]string] {
	return kind[[]string]{
		parse: func(s string) ([]string, bool) {
			separator := ","
			if strings.Contains(s, ";") {
				separator = ";"
			}
			var names []string
			for name := range strings.SplitSeq(s, separator) {
				if name = strings.TrimSpace(name); name != "" {
					names = append(names, name)
				}
			}
			return names, len(names) > 0 && !strings.ContainsAny(s, "\x00\r\n")
		},
		says: "one or more labels, separated by commas, or by semicolons where one has a comma in it",
		typ:  schemaType{Type: "array"},
	}
}

// optionalWholeNumber tells "not set" from 0.
func optionalWholeNumber(low, high int) kind[*int] {
	number := wholeNumber(low, high)
	return kind[*int]{
		parse: func(s string) (*int, bool) {
			n, ok := number.parse(s)
			return &n, ok
		},
		says: number.says,
		typ:  number.typ,
	}
}
