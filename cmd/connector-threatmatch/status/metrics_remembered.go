package status

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/opencti-connectors/threatmatch/state"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// remembered is about the folder of the state.
func (m metrics) remembered(s *Status) {
	read := func(f func(*index.Index) int64) func() float64 {
		return func() float64 {
			if x := s.openIndex(); x != nil {
				return float64(f(x))
			}
			return 0
		}
	}
	m.gauge("index_entries", "Objects in the index of what was delivered.", nil, read((*index.Index).Len))
	m.gauge("index_bytes", "Size on disk of the index of what was delivered.", nil, read((*index.Index).Size))
	m.gauge("waiting_objects", "Objects on disk that wait for others, of this run and of earlier ones.", nil,
		read(func(x *index.Index) int64 { return int64(x.Waiting().Len()) }))
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
