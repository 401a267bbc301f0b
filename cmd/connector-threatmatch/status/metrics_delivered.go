package status

import (
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/exposition"
	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/emit/followup"
	"github.com/opencti-connectors/threatmatch/state/index"
)

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
			exposition.Labels{"outcome": outcome}, func(t counts) int64 { return read(t.objects) })
	}
	now := func(name, help string, read func(counts) float64) {
		m.gauge(name, help, nil, func() float64 { total, _ := s.figures(); return read(total) })
	}
	now("parked_objects", "Objects of the run that wait for others.", func(t counts) float64 { return float64(t.objects.Parked) })
	now("unconfirmed_messages", "Messages handed to the broker and not confirmed.", func(t counts) float64 { return float64(t.broker.Unconfirmed) })
	now("unconfirmed_bytes", "Bytes of the messages that are handed to the broker and not confirmed.", func(t counts) float64 { return float64(t.broker.UnconfirmedBytes) })
	now("broker_connected", "1 while there is a connection to the broker.", func(t counts) float64 { return zeroOrOne(t.broker.Connected) })
	now("broker_blocked", "1 while the broker asks not to publish.", func(t counts) float64 { return zeroOrOne(t.broker.Blocked) })
	m.count(s, "broker_attempts_total", "Attempts to connect to the broker.", nil, func(t counts) int64 { return int64(t.broker.Attempts) })
	m.count(s, "broker_connections_total", "Connections to the broker that were opened; a run without trouble needs one.", nil, func(t counts) int64 { return int64(t.broker.Sessions) })
	m.count(s, "messages_republished_total", "Messages published again because their fate was unknown or the broker refused them.", nil, func(t counts) int64 { return int64(t.broker.Again) })

	m.gauge("queue_bytes", "Size of the connector's queue when OpenCTI was last asked.", nil, func() float64 { return float64(s.glance().queueBytes(s.importShare())) })
	m.gauge("queue_threshold_bytes", "Size of the queue at which the connector waits.", nil, func() float64 { return s.Told().QueueThreshold * 1e6 })
	m.gauge("buffering", "1 while the connector waits for the queue to drain.", nil, func() float64 { return zeroOrOne(s.Told().Buffering) })
}

// confirms is about how long the broker takes.
func (m metrics) confirms(s *Status) {
	m.add("confirm_latency_seconds", "Time from handing a message to the broker to its confirm.", exposition.Histogram, func(told *exposition.Samples) {
		total, _ := s.figures()
		of := total.broker.Latency
		told.Histogram(of.Count(), of.Sum.Seconds(), of.Buckets())
	})
}

// shared is about OpenCTI's share: what its workers make of what was sent.
func (m metrics) shared(s *Status) {
	seen := func(f func(followup.Imports) float64) func() float64 {
		return func() float64 { return f(s.importShare()) }
	}
	m.gauge("import_expected_messages", "Messages of the works that OpenCTI is not through with, when it was last asked.", nil,
		seen(func(i followup.Imports) float64 { return float64(i.Expected) }))
	m.gauge("import_processed_messages", "How many of them OpenCTI's workers have processed, those that failed included.", nil,
		seen(func(i followup.Imports) float64 { return float64(i.Done) }))
	m.gauge("import_failed_messages", "How many of them could not be imported; OpenCTI names no more than a hundred of a work.", nil,
		seen(func(i followup.Imports) (failed float64) {
			for _, n := range i.Failed {
				failed += float64(n)
			}
			return failed
		}))
	m.gauge("queue_messages", "Messages in the connector's queue when OpenCTI was last asked for its works; 0 where it is through with all.", nil,
		seen(func(i followup.Imports) float64 { return float64(i.Waiting) }))
	m.gauge("import_messages_per_second", "How many messages a second OpenCTI's workers processed of late.", nil,
		seen(func(i followup.Imports) float64 { return i.Lately }))

	m.counter("imports_failed_total", "Versions of objects that OpenCTI could not import and that the log names.", nil,
		func() float64 { return float64(s.importCounts().Failed) })
	m.counter("imports_sent_again_total", "Objects that OpenCTI could not import for a reason that passes, and that are sent again.", nil,
		func() float64 { return float64(s.importCounts().Again) })
	m.gauge("open_works", "Works that OpenCTI was not through with when it was last asked.", nil,
		func() float64 { return float64(s.importCounts().Open) })
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
	m.gauge("index_bytes", "Size on disk of the index of what was delivered.", nil, read((*index.Index).Size))
	m.gauge("waiting_objects", "Objects on disk that wait for others, of this run and of earlier ones.", nil,
		read(func(x *index.Index) int64 { return int64(x.Waiting().Len()) }))
}
