package status

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// metrics builds the connector's registry. Every figure is read where it is kept, when somebody asks for it.
type metrics struct {
	registry             *prometheus.Registry
	namespace, subsystem string
}

// newRegistry returns the metrics of the connector, and those of its process under their usual names.
func newRegistry(s *Status, cfg config.Connector, version string) *prometheus.Registry {
	m := metrics{prometheus.NewRegistry(), cfg.MetricsNamespace, cfg.MetricsSubsystem}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.common(s)
	m.imported(s)
	m.delivered(s)
	m.remembered(s)
	m.gauge("build_info", "1, with the version of the connector.", prometheus.Labels{"version": version}, func() float64 { return 1 })
	return m.registry
}

func (m metrics) counter(name, help string, labels prometheus.Labels, read func() float64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: m.namespace, Subsystem: m.subsystem, Name: name, Help: help, ConstLabels: labels}, read))
}

func (m metrics) gauge(name, help string, labels prometheus.Labels, read func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: m.namespace, Subsystem: m.subsystem, Name: name, Help: help, ConstLabels: labels}, read))
}

// count registers a counter that is read from the status' figures.
func (m metrics) count(s *Status, name, help string, labels prometheus.Labels, read func(counts) int64) {
	m.counter(name, help, labels, func() float64 {
		total, _ := s.figures()
		return float64(read(total))
	})
}

// common has the names that OpenCTI's connectors share.
func (m metrics) common(s *Status) {
	confirmed := func(c counts) int64 { return c.objects.Confirmed }
	m.count(s, "bundles_sent_total", "Bundles that the broker has confirmed; each holds one object.", nil, confirmed)
	m.count(s, "records_sent_total", "Objects that the broker has confirmed.", nil, confirmed)
	m.count(s, "runs_total", "Runs that were started.", nil, func(c counts) int64 { return c.runs })
	m.count(s, "errors_total", "Runs that ended before everything was delivered.", nil, func(c counts) int64 { return c.failedRuns })
	m.count(s, "ping_api_total", "Pings sent to OpenCTI.", nil, func(c counts) int64 { return c.pings })
	m.count(s, "ping_api_errors_total", "Pings that failed.", nil, func(c counts) int64 { return c.pingErrors })
	m.count(s, "client_errors_total", "Requests to ThreatMatch that failed, repeated ones included.", nil, func(c counts) int64 { return c.apiErrors })
	for _, at := range []activity{idle, running, stopped} {
		m.gauge("state", "What the connector is at: 1 for the state that it is in.", prometheus.Labels{"state": string(at)},
			func() float64 {
				now := s.currentActivity()
				return zeroOrOne(now == at || at == idle && now == starting)
			})
	}
	for _, r := range refusals {
		m.gauge("credentials_refused", "1 while the remote refuses the connector's credentials, until it has taken them again.",
			prometheus.Labels{"remote": string(r.remote)}, func() float64 { return zeroOrOne(s.refuses(r.remote)) })
	}
	m.gauge("heartbeat_age_seconds", "Time since the heartbeat did something: it went round, or a request to OpenCTI that it waits for began or ended.", nil, func() float64 { return s.sinceBeat().Seconds() })
	m.gauge("last_successful_run_timestamp_seconds", "When the last run began that delivered everything, 0 for none.", nil, func() float64 {
		if at := s.lastSuccess(); !at.IsZero() {
			return float64(at.UnixMilli()) / 1000
		}
		return 0
	})
}

// imported is about what comes in.
func (m metrics) imported(s *Status) {
	m.counter("api_requests_total", "Requests sent to ThreatMatch, tokens and repeated ones included.", nil,
		func() float64 { return float64(s.requestCount()) })
	_, datasets := s.figures()
	for name := range datasets {
		for _, figure := range []struct {
			name, help string
			read       func(datasetCounts) int64
		}{
			{"items_fetched_total", "Items fetched from ThreatMatch.", func(d datasetCounts) int64 { return d.items }},
			{"rejected_total", "Objects left out because they cannot be imported, counted at the end of a run.", func(d datasetCounts) int64 { return d.leftOut }},
			{"failed_parts_total", "Items and pages that could not be fetched, counted at the end of a run.", func(d datasetCounts) int64 { return d.problems }},
		} {
			m.counter(figure.name, figure.help, prometheus.Labels{"dataset": name}, func() float64 {
				_, of := s.figures()
				return float64(figure.read(of[name]))
			})
		}
	}
}

// delivered is about what goes out.
func (m metrics) delivered(s *Status) {
	for outcome, read := range map[string]func(emit.Account) int64{
		"confirmed": func(a emit.Account) int64 { return a.Confirmed },
		"known":     func(a emit.Account) int64 { return a.Known },
		"repeated":  func(a emit.Account) int64 { return a.Repeated },
		"cleaned":   func(a emit.Account) int64 { return a.Cleaned },
		"held":      func(a emit.Account) int64 { return a.Held },
		"cut":       func(a emit.Account) int64 { return a.Cut },
		"refused":   func(a emit.Account) int64 { return a.Refused },
		"evicted":   func(a emit.Account) int64 { return a.Evicted },
		"refitted":  func(a emit.Account) int64 { return a.Refitted },
		"lost":      func(a emit.Account) int64 { return a.Lost },
	} {
		m.count(s, "objects_total", "Objects by what became of them: confirmed by the broker; known, delivered by an earlier run; repeated, a copy of what this run sends; "+
			"cleaned of references that nothing brings; held back for want of an end; cut out of a cycle; refused as too large; evicted from those that wait; refitted, relations sent under a type that OpenCTI takes; lost, delivered before and "+
			"not at OpenCTI any more.",
			prometheus.Labels{"outcome": outcome}, func(t counts) int64 { return read(t.objects) })
	}
	now := func(name, help string, read func(counts) float64) {
		m.gauge(name, help, nil, func() float64 { total, _ := s.figures(); return read(total) })
	}
	now("parked_objects", "Objects of the run that wait for others.", func(t counts) float64 { return float64(t.objects.Parked) })
	now("unconfirmed_messages", "Messages handed to the broker and not confirmed.", func(t counts) float64 { return float64(t.broker.Unconfirmed) })
	now("unconfirmed_bytes", "Bytes of these messages.", func(t counts) float64 { return float64(t.broker.UnconfirmedBytes) })
	now("broker_connected", "1 while there is a connection to the broker.", func(t counts) float64 { return zeroOrOne(t.broker.Connected) })
	now("broker_blocked", "1 while the broker asks not to publish.", func(t counts) float64 { return zeroOrOne(t.broker.Blocked) })
	m.count(s, "broker_attempts_total", "Attempts to connect to the broker.", nil, func(t counts) int64 { return int64(t.broker.Attempts) })
	m.count(s, "broker_connections_total", "Connections to the broker that were opened; a run without trouble needs one.", nil, func(t counts) int64 { return int64(t.broker.Sessions) })
	m.count(s, "messages_republished_total", "Messages published again because their fate was unknown or the broker refused them.", nil, func(t counts) int64 { return int64(t.broker.Again) })

	m.counter("imports_failed_total", "Versions of objects that OpenCTI could not import and that the log names.", nil,
		func() float64 { return float64(s.importCounts().Failed) })
	m.counter("imports_sent_again_total", "Objects that OpenCTI could not import for a reason that passes, and that are sent again.", nil,
		func() float64 { return float64(s.importCounts().Again) })
	m.gauge("open_works", "Works that OpenCTI was not through with when it was last asked.", nil,
		func() float64 { return float64(s.importCounts().Open) })

	m.gauge("queue_bytes", "Size of the connector's queue when OpenCTI was last asked.", nil, func() float64 { return s.Told().QueueMessagesSize * 1e6 })
	m.gauge("queue_threshold_bytes", "Size of the queue at which the connector waits.", nil, func() float64 { return s.Told().QueueThreshold * 1e6 })
	m.gauge("buffering", "1 while the connector waits for the queue to drain.", nil, func() float64 { return zeroOrOne(s.Told().Buffering) })
}

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
	m.gauge("index_bytes", "Size of that index on disk.", nil, read((*index.Index).Size))
	m.gauge("waiting_objects", "Objects on disk that wait for others, of this run and of earlier ones.", nil,
		read(func(x *index.Index) int64 { return int64(x.Waiting().Len()) }))
}

func zeroOrOne(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
