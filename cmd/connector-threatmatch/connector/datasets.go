package connector

import (
	"time"

	"go.uber.org/zap"

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

// AllDatasets are those that there are.
var AllDatasets = []string{fetch.ProfilesDataset, fetch.AlertsDataset, fetch.ReportsDataset, fetch.IndicatorsDataset}

// sources are those of the schedule.
func sources(cfg config.Config, api *threatmatch.Client, log *zap.Logger) []pipeline.Source {
	var sources []pipeline.Source
	options := fetch.Options{
		Concurrency: cfg.ThreatMatch.Concurrency, Room: fetch.NewRoom(sharesOf(cfg).fetched),
		Overlap: cfg.ThreatMatch.Overlap.Longest(), NotBefore: cfg.ThreatMatch.ImportFrom.From(time.Now()), Log: log,
	}
	for _, name := range Datasets(cfg) {
		sources = append(sources, source(api, name, options))
	}
	return sources
}

// source is that of a dataset.
func source(api *threatmatch.Client, name string, options fetch.Options) pipeline.Source {
	if name == fetch.IndicatorsDataset {
		return fetch.Indicators(api, options)
	}
	return fetch.Items(api, name, options)
}
