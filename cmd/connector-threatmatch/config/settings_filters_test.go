package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
)

func TestALabelWithACommaStaysOneInAList(t *testing.T) {
	for text, want := range map[string][]string{
		"[Espionage, Russia]":                            {"Espionage", "Russia"},
		"['Aerospace, defence & security', Russia]":      {"Aerospace, defence & security", "Russia"},
		"['Aerospace, defence & security']":              {"Aerospace, defence & security"},
		"Aerospace, defence & security; Russia":          {"Aerospace, defence & security", "Russia"},
		"\n    - Aerospace, defence & security\n    - x": {"Aerospace, defence & security", "x"},
	} {
		path := writeFile(t, "threatmatch:\n  tags: "+text+"\n")
		c, _, err := Load(path, true, configtest.Environ(nil))
		if err != nil || !slices.Equal(c.ThreatMatch.Tags, want) {
			t.Errorf("%s: %q, %v, want %q", text, c.ThreatMatch.Tags, err, want)
		}
	}
}

func TestAMaximumBelowTheDefaultMarkingIsWarnedOf(t *testing.T) {
	for set, warns := range map[string]bool{"": false, "amber": false, "red": false, "green": true, "clear": true} {
		_, warnings, err := Load("", false, configtest.Environ(map[string]string{"THREATMATCH_MAX_TLP": set}))
		said := slices.ContainsFunc(warnings, func(w Warning) bool { return strings.Contains(string(w), "THREATMATCH_MAX_TLP") })
		if err != nil || said != warns {
			t.Errorf("%q: %v, %v", set, warnings, err)
		}
	}
}

func TestTypesThatAreAskedForAndLeftOutAreWarnedOf(t *testing.T) {
	for exclude, warns := range map[string]string{"": "", "report": "", "tool,report": ": tool", "tool,malware": ": malware, tool"} {
		_, warnings, err := Load("", false, configtest.Environ(map[string]string{"THREATMATCH_TYPES": "malware,tool", "THREATMATCH_EXCLUDE_TYPES": exclude}))
		want := []Warning{Warning("THREATMATCH_EXCLUDE_TYPES leaves out what THREATMATCH_TYPES asks for" + warns)}
		if warns == "" {
			want = nil
		}
		if err != nil || !slices.Equal(warnings, want) {
			t.Errorf("%q: %q, %v", exclude, warnings, err)
		}
	}
}
