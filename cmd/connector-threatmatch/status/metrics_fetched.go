package status

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

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
			m.counter(figure.name, figure.help, prometheus.Labels{"dataset": name}, func() float64 {
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
			prometheus.Labels{"cause": string(cause)}, func() float64 { return float64(s.apiFigures().Failed[cause]) })
	}
	m.counter("rate_limit_waits_total", "Requests to ThreatMatch that had to wait for THREATMATCH_RATE_LIMIT.", nil,
		func() float64 { return float64(s.apiFigures().Waits) })
	m.counter("rate_limit_wait_seconds_total", "Time that requests waited for THREATMATCH_RATE_LIMIT, those that waited side by side each for itself.", nil,
		func() float64 { return s.apiFigures().Waited.Seconds() })
}

// places is what a scrape reads of where the datasets are. Before the platform has told there is nothing.
type places struct {
	status    *Status
	datasets  []string
	lag, owed *prometheus.Desc
}

// reached is about where the datasets are.
func (m metrics) reached(s *Status) {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(m.namespace, m.subsystem, name), help, []string{"dataset"}, nil)
	}
	_, datasets := s.figures()
	m.registry.MustRegister(places{s, slices.Sorted(maps.Keys(datasets)),
		desc("window_lag_seconds", "Time since the moment up to which all of a dataset is delivered; of one that was never imported, since where its import begins. It falls when a pass has come to its end."),
		desc("owed_items", "Items of a dataset that could not be fetched; every run tries them first."),
	})
}

// Describe tells what there is.
func (p places) Describe(to chan<- *prometheus.Desc) { to <- p.lag; to <- p.owed }

// Collect reads it.
func (p places) Collect(to chan<- prometheus.Metric) {
	of := read(p.status, func() func(string) state.Standing { return p.status.standing })
	if of == nil {
		return
	}
	for _, name := range p.datasets {
		at := of(name)
		to <- prometheus.MustNewConstMetric(p.lag, prometheus.GaugeValue, p.status.now().Sub(at.Since).Seconds(), name)
		to <- prometheus.MustNewConstMetric(p.owed, prometheus.GaugeValue, float64(at.Owed), name)
	}
}
