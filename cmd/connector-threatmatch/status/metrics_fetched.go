package status

import (
	"maps"
	"slices"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/exposition"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/state"
)

// fetched is about what comes in.
func (m metrics) fetched(s *Status) {
	m.counter("api_requests_total", "Requests sent to ThreatMatch, tokens and repeated ones included.", nil,
		func() float64 { return float64(s.requestCount()) })
	_, datasets := s.figures()
	for name := range datasets {
		for _, figure := range []struct {
			name, help string
			read       func(datasetCounts) int64
		}{
			{"items_fetched_total", "Items fetched from ThreatMatch.", func(d datasetCounts) int64 { return d.items }},
			{"rejected_total", "Objects left out because they cannot be imported, or because a filter leaves them out, counted at the end of a run.", func(d datasetCounts) int64 { return d.leftOut }},
			{"failed_parts_total", "Items and pages that could not be fetched, counted at the end of a run.", func(d datasetCounts) int64 { return d.problems }},
		} {
			m.counter(figure.name, figure.help, exposition.Labels{"dataset": name}, func() float64 {
				_, of := s.figures()
				return float64(figure.read(of[name]))
			})
		}
	}
}

// asked is about the requests to ThreatMatch.
func (m metrics) asked(s *Status) {
	for _, cause := range threatmatch.Causes {
		m.counter("api_failures_total", "Requests to ThreatMatch that failed, each attempt for itself, by cause: rate_limited (429), unauthorized, client_error (another 4xx), "+
			"server_error (5xx), unreadable (an answer that is none), timeout, connection (refused, reset, no such name), tls, other.",
			exposition.Labels{"cause": string(cause)}, func() float64 { return float64(s.apiFigures().Failed[cause]) })
	}
	m.counter("rate_limit_waits_total", "Requests to ThreatMatch that had to wait for THREATMATCH_RATE_LIMIT.", nil,
		func() float64 { return float64(s.apiFigures().Waits) })
	m.counter("rate_limit_wait_seconds_total", "Time that requests waited for THREATMATCH_RATE_LIMIT, those that waited side by side each for itself.", nil,
		func() float64 { return s.apiFigures().Waited.Seconds() })
}

// reached is about where the datasets are. Before the platform has told there is nothing.
func (m metrics) reached(s *Status) {
	_, of := s.figures()
	datasets := slices.Sorted(maps.Keys(of))
	each := func(name, help string, figure func(state.Standing) float64) {
		m.add(name, help, exposition.Gauge, func(told *exposition.Samples) {
			standing := read(s, func() func(string) state.Standing { return s.standing })
			if standing == nil {
				return
			}
			for _, dataset := range datasets {
				told.Add(figure(standing(dataset)), exposition.Labels{"dataset": dataset})
			}
		})
	}
	each("window_lag_seconds", "Time since the moment up to which all of a dataset is delivered; of one that was never imported, since where its import begins. It falls when a pass has come to its end.",
		func(at state.Standing) float64 { return s.now().Sub(at.Since).Seconds() })
	each("owed_items", "Items of a dataset that could not be fetched; every run tries them first.",
		func(at state.Standing) float64 { return float64(at.Owed) })
}
