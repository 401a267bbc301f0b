package sandbox

import (
	"fmt"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// intelligence is what the simulated ThreatMatch holds, and how much of it.
func (o Options) intelligence() (threatmatchtest.Data, map[string]int, error) {
	if o.Data == "" {
		return threatmatchtest.Generate(threatmatchtest.Shape{
				Seed: o.Seed, Profiles: o.Profiles, Alerts: o.Alerts, Reports: o.Reports, Indicators: o.Indicators,
			}), map[string]int{
				fetch.ProfilesDataset: o.Profiles, fetch.AlertsDataset: o.Alerts, fetch.ReportsDataset: o.Reports, fetch.IndicatorsDataset: o.Indicators,
			}, nil
	}
	folder, err := threatmatchtest.Load(o.Data)
	if err != nil {
		return nil, nil, fmt.Errorf("load %s: %w", o.Data, err)
	}
	held := map[string]int{}
	for _, dataset := range []string{fetch.ProfilesDataset, fetch.AlertsDataset, fetch.ReportsDataset} {
		for range folder.IDs(dataset, time.Time{}) {
			held[dataset]++
		}
	}
	indicators, _ := folder.Indicators(time.Time{}, true, 1<<31-1)
	held[fetch.IndicatorsDataset] = len(indicators)
	return folder, held, nil
}
