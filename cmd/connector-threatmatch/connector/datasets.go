package connector

import (
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// Datasets names what is imported, in the order in which it is shown.
func Datasets(cfg config.Config) []string {
	var names []string
	for _, d := range []struct {
		name string
		on   bool
	}{
		{fetch.ProfilesDataset, cfg.ThreatMatch.Profiles}, {fetch.AlertsDataset, cfg.ThreatMatch.Alerts},
		{fetch.ReportsDataset, cfg.ThreatMatch.Reports}, {fetch.IndicatorsDataset, cfg.ThreatMatch.IOCs},
	} {
		if d.on {
			names = append(names, d.name)
		}
	}
	return names
}

func sources(cfg config.Config, api *threatmatch.Client) []pipeline.Source {
	var sources []pipeline.Source
	options := fetch.Options{
		Concurrency: cfg.ThreatMatch.Concurrency, Room: fetch.NewRoom(sharesOf(cfg).fetched),
		Overlap: cfg.ThreatMatch.Overlap.Longest(), NotBefore: cfg.ThreatMatch.ImportFrom.From(time.Now()),
	}
	for _, name := range Datasets(cfg) {
		if name == fetch.IndicatorsDataset {
			sources = append(sources, fetch.Indicators(api, options))
		} else {
			sources = append(sources, fetch.Items(api, name, options))
		}
	}
	return sources
}
