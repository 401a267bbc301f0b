package connector

import (
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/transform"
)

func TestEveryTypeToFilterByIsOneThatTheMappingKnows(t *testing.T) {
	for _, name := range config.FilterableTypes() {
		if _, err := transform.New(transform.Config{TLP: "amber", Filters: transform.Filters{Types: []string{name}}}); err != nil {
			t.Error(err)
		}
	}
}

// TestTheIndexBelongsToTheFilters: what was left out by one of them is not known to be left out by another.
func TestTheIndexBelongsToTheFilters(t *testing.T) {
	mapping := func(change func(*config.ThreatMatch)) string {
		cfg := config.Config{ThreatMatch: config.ThreatMatch{TLP: "amber", DescriptionFormat: "markdown", Labels: "knowledge"}, Connector: config.Connector{SendToQueue: true}}
		change(&cfg.ThreatMatch)
		return Identity(cfg).Mapping
	}
	zero := 0
	seen := map[string]string{}
	for name, change := range map[string]func(*config.ThreatMatch){
		"none":        func(*config.ThreatMatch) {},
		"max tlp":     func(t *config.ThreatMatch) { t.MaxTLP = "amber" },
		"types":       func(t *config.ThreatMatch) { t.Types = []string{"tool", "malware"} },
		"fewer types": func(t *config.ThreatMatch) { t.Types = []string{"tool"} },
		"excluded":    func(t *config.ThreatMatch) { t.ExcludeTypes = []string{"tool"} },
		"confidence":  func(t *config.ThreatMatch) { t.MinConfidence = 1 },
		"score":       func(t *config.ThreatMatch) { t.MinScore = 1 },
		"tags":        func(t *config.ThreatMatch) { t.Tags = []string{"a", "b"} },
		"one tag":     func(t *config.ThreatMatch) { t.Tags = []string{"a b"} },
		"no tags":     func(t *config.ThreatMatch) { t.ExcludeTags = []string{"a", "b"} },
		"observables": func(t *config.ThreatMatch) { t.CreateObservables = true },
		"default":     func(t *config.ThreatMatch) { t.Score = &zero },
	} {
		m := mapping(change)
		if other := seen[m]; other != "" {
			t.Errorf("%s and %s are both %s", name, other, m)
		}
		seen[m] = name
	}
	if m := mapping(func(*config.ThreatMatch) {}); !strings.HasSuffix(m, "mapping=4") {
		t.Errorf("without any it has changed: %s", m)
	}
	if a, b := mapping(func(t *config.ThreatMatch) { t.Types = []string{"tool", "malware"} }), mapping(func(t *config.ThreatMatch) { t.Types = []string{"malware", "tool"} }); a != b {
		t.Errorf("%s, and in another order %s", a, b)
	}
}
