package status

import (
	"runtime"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/exposition"
)

// metrics builds the connector's registry. Every figure is read where it is kept, when somebody asks for it.
type metrics struct {
	registry *exposition.Registry
	prefix   string // of every name
}

// newRegistry returns the metrics of the connector, and those of its process under their usual names.
func newRegistry(s *Status, cfg config.Connector, version string) *exposition.Registry {
	m := metrics{registry: exposition.NewRegistry()}
	for _, part := range []string{cfg.MetricsNamespace, cfg.MetricsSubsystem} {
		if part != "" {
			m.prefix += part + "_"
		}
	}
	m.registry.AddGo()
	m.registry.AddProcess()
	m.common(s)
	m.scheduled(cfg)
	m.fetched(s)
	m.asked(s)
	m.staged(s)
	m.delivered(s)
	m.confirms(s)
	m.shared(s)
	m.remembered(s)
	m.reached(s)
	m.gauge("build_info", "1, with the version of the connector and of the Go that it was built with.",
		exposition.Labels{"version": version, "goversion": runtime.Version()}, func() float64 { return 1 })
	return m.registry
}

func (m metrics) counter(name, help string, labels exposition.Labels, read func() float64) {
	m.add(name, help, exposition.Counter, func(s *exposition.Samples) { s.Add(read(), labels) })
}

func (m metrics) gauge(name, help string, labels exposition.Labels, read func() float64) {
	m.add(name, help, exposition.Gauge, func(s *exposition.Samples) { s.Add(read(), labels) })
}

func (m metrics) add(name, help string, kind exposition.Kind, read func(*exposition.Samples)) {
	m.registry.Add(m.prefix+name, help, kind, read)
}

// count registers a counter that is read from the status' figures.
func (m metrics) count(s *Status, name, help string, labels exposition.Labels, read func(counts) int64) {
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
	m.counter("client_errors_total", "Requests to ThreatMatch that failed, repeated ones included.", nil, func() float64 {
		failed := 0
		for _, n := range s.apiFigures().Failed {
			failed += int(n)
		}
		return float64(failed)
	})
	for _, at := range []activity{idle, running, stopped} {
		m.gauge("state", "What the connector is at: 1 for the state that it is in.", exposition.Labels{"state": string(at)},
			func() float64 {
				now := s.currentActivity()
				return zeroOrOne(now == at || at == idle && now == starting)
			})
	}
	for _, r := range refusals {
		m.gauge("credentials_refused", "1 while the remote refuses the connector's credentials, until it has taken them again.",
			exposition.Labels{"remote": string(r.remote)}, func() float64 { return zeroOrOne(s.refuses(r.remote)) })
	}
	m.gauge("heartbeat_age_seconds", "Time since the heartbeat did something: it went round, or a request to OpenCTI that it waits for began or ended.", nil, func() float64 { return s.sinceBeat().Seconds() })
	m.gauge("last_successful_run_timestamp_seconds", "When the last run began that delivered everything, 0 for none.", nil, func() float64 {
		if at := s.lastSuccess(); !at.IsZero() {
			return float64(at.UnixMilli()) / 1000
		}
		return 0
	})
}

// scheduled tells how often there should be a run, for whoever judges whether one is late.
func (m metrics) scheduled(cfg config.Connector) {
	m.gauge("run_period_seconds", "Time from the end of a run to the start of the next, 0 for a connector that runs once and ends.", nil, func() float64 {
		if cfg.RunOnce() {
			return 0
		}
		return cfg.Period.Longest().Seconds()
	})
}

func zeroOrOne(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
