package status

import (
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/exposition"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// staged is about the stages of the pipeline, and what lies between them.
func (m metrics) staged(s *Status) {
	for stage, read := range map[string]func(pipeline.Reading) int64{
		"fetch":     func(r pipeline.Reading) int64 { return r.Fetched },
		"transform": func(r pipeline.Reading) int64 { return r.Transformed },
		"emit":      func(r pipeline.Reading) int64 { return r.Emitted },
	} {
		m.counter("stage_items_total", "Items that a stage has passed on: fetch from ThreatMatch, transform into objects, emit to the queue.",
			exposition.Labels{"stage": stage}, func() float64 { return float64(read(s.passed())) })
	}
	m.counter("transformed_objects_total", "Objects that were made of these items.", nil, func() float64 { return float64(s.passed().Objects) })
	for stage, read := range map[string]func(pipeline.Reading) pipeline.Fill{
		"transform": func(r pipeline.Reading) pipeline.Fill { return r.ToTransform },
		"emit":      func(r pipeline.Reading) pipeline.Fill { return r.ToEmit },
	} {
		before := exposition.Labels{"stage": stage}
		m.gauge("channel_items", "Items that wait before a stage: where the channel is full the stage is slow, where it is empty those before it are.", before,
			func() float64 { return float64(read(s.reading()).Used) })
		m.gauge("channel_capacity_items", "Items for which there is room before a stage, 0 between runs.", before,
			func() float64 { return float64(read(s.reading()).Bound) })
	}
	m.gauge("payload_bytes", "Intelligence of the run between ThreatMatch's answers and the broker's confirms.", nil,
		func() float64 { return float64(s.reading().Payload.Used) })
	m.gauge("payload_limit_bytes", "How much of it there may be at a time, 0 between runs.", nil,
		func() float64 { return float64(s.reading().Payload.Bound) })
	_, datasets := s.figures()
	m.add("oldest_unsettled_page_age_seconds",
		"Time since the oldest page of a dataset was fetched of which something is neither delivered nor kept on disk; 0 where there is none.",
		exposition.Gauge, func(told *exposition.Samples) {
			ages := make(map[string]float64, len(datasets))
			for name := range datasets {
				ages[name] = 0
			}
			for name, opened := range s.reading().Oldest { // a backfill has its own while a page of it is open
				ages[name] = s.now().Sub(opened).Seconds()
			}
			for name, age := range ages {
				told.Add(age, exposition.Labels{"dataset": name})
			}
		})
}
