package sandbox

import (
	"fmt"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/connector"
	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// intelligence is what the simulated ThreatMatch holds.
type intelligence interface {
	threatmatchtest.Data
	Span(name string) (oldest, newest time.Time)
}

// generatedSpan is how long before today the generated intelligence begins, which reaches until then: a run tells how far it is by the
// share of its window, which ends now.
const generatedSpan = 60 * 24 * time.Hour

// GeneratedFrom is the date of the first item that is generated at a moment.
func GeneratedFrom(now time.Time) time.Time {
	return now.UTC().Truncate(24 * time.Hour).Add(-generatedSpan)
}

// intelligence makes or loads what the simulated ThreatMatch holds, and counts it.
func (o Options) intelligence() (intelligence, map[string]int, error) {
	if o.Data == "" {
		return threatmatchtest.Generate(threatmatchtest.Shape{
				Start: GeneratedFrom(time.Now()), Span: generatedSpan, Seed: o.Seed, Profiles: o.Profiles, Alerts: o.Alerts, Reports: o.Reports, Indicators: o.Indicators,
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

// span is from when to when a dataset reaches; zero times where it holds nothing.
func span(data intelligence, dataset string) (oldest, newest time.Time) {
	if dataset == fetch.IndicatorsDataset {
		dataset = "indicators"
	}
	return data.Span(dataset)
}

// firstDay is the day on which an import begins that brings all that a ThreatMatch holds: that of the oldest, 1970-01-01 where there
// is nothing.
func firstDay(data intelligence) string {
	first := time.Time{}
	for _, dataset := range connector.AllDatasets {
		oldest, _ := span(data, dataset)
		if dataset == fetch.IndicatorsDataset {
			oldest = oldest.Add(-time.Millisecond) // they are listed from behind a moment on
		}
		if oldest.Year() > 1 && (first.IsZero() || oldest.Before(first)) {
			first = oldest
		}
	}
	if first.Year() < 1970 { // the earliest that a connector takes
		first = time.Unix(0, 0)
	}
	return first.UTC().Format(time.DateOnly)
}
