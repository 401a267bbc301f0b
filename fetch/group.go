package fetch

import (
	"fmt"
	"strings"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
)

// allContent is the group that holds every indicator.
const allContent = "All content"

// IndicatorGroup picks the group of which the indicators are read. The error names the groups that there are instead.
func IndicatorGroup(groups []threatmatch.Group) (threatmatch.Group, error) {
	for _, same := range []func(a, b string) bool{func(a, b string) bool { return a == b }, strings.EqualFold} {
		for _, g := range groups {
			if g.ID != "" && same(strings.TrimSpace(g.Name), allContent) {
				return g, nil
			}
		}
	}
	const shown = 20
	names := make([]string, 0, shown)
	for _, g := range groups[:min(len(groups), shown)] {
		names = append(names, fmt.Sprintf("%.60q", g.Name))
	}
	there := "there are no groups at all"
	if len(names) > 0 {
		there = fmt.Sprintf("there are %d: %s", len(groups), strings.Join(names, ", "))
	}
	return threatmatch.Group{}, fmt.Errorf("find the group of indicators: no group is named %q, %s; ask ThreatMatch for access to it", allContent, there)
}
