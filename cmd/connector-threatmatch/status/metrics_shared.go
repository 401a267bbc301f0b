package status

import "github.com/opencti-connectors/threatmatch/emit/followup"

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
