package status

import (
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
	"github.com/opencti-connectors/threatmatch/emit/followup"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state"
)

// WatchAPI takes up the figures of ThreatMatch's client.
func (s *Status) WatchAPI(figures func() threatmatch.Figures) { s.change(func() { s.api = figures }) }

// WatchPlaces takes up where the datasets are.
func (s *Status) WatchPlaces(of func(dataset string) state.Standing) {
	s.change(func() { s.standing = of })
}

// reading is how the run under way gets on inside, the zero value between two.
func (s *Status) reading() pipeline.Reading {
	return s.Meter().Read()
}

// passed are the items that the stages of all runs have passed on.
func (s *Status) passed() pipeline.Reading {
	return read(s, func() pipeline.Reading { return addPassed(s.total.passed, s.meter.Read()) })
}

// importShare is how much of what was sent OpenCTI has imported, the zero value before it was asked.
func (s *Status) importShare() followup.Imports {
	if share := read(s, func() func() followup.Imports { return s.share }); share != nil {
		return share()
	}
	return followup.Imports{}
}

// failedRequests are the requests to ThreatMatch that failed since the start, by cause; causes that were not met are left out.
func (s *Status) failedRequests() (met []snapshot.Count) {
	failed := s.apiFigures().Failed
	for _, cause := range threatmatch.Causes {
		if n := failed[cause]; n > 0 {
			met = append(met, snapshot.Count{Name: string(cause), Count: n})
		}
	}
	return met
}

func (s *Status) apiFigures() threatmatch.Figures {
	return read(s, func() func() threatmatch.Figures { return s.api })()
}
