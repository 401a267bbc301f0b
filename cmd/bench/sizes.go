package main

import (
	"fmt"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/bench/twins"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/sandbox"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// sizes are how much is measured.
type sizes struct {
	medium       threatmatchtest.Shape // a first import of a middling customer
	pairs        threatmatchtest.Shape // of the runs beside RabbitMQ
	pairsOf      int                   // for each type of queue
	without      int                   // runs without a broker
	each         int                   // runs of what is looked at by itself
	profiles     int                   // for the CPU of an object
	indicators   int                   // for that of an indicator
	slowItems    int                   // from an API with latency
	slowPages    int
	scaling      []int // objects
	concurrency  []int
	corpusRounds int
}

// full is what `make bench` measures.
var full = sizes{
	medium: shape(500, 500, 20_000), pairs: shape(1000, 1000, 40_000), pairsOf: 5, without: 5, each: 4,
	profiles: 1000, indicators: 60_000, slowItems: 400, slowPages: 200,
	scaling: []int{1000, 10_000, 100_000, 1_000_000}, concurrency: []int{1, 2, 4, 8, 16}, corpusRounds: 3,
}

// quick is what `make bench-quick` measures: no goal decides.
var quick = sizes{
	medium: shape(200, 200, 8000), pairs: shape(300, 300, 12_000), pairsOf: 2, without: 2, each: 1,
	profiles: 200, indicators: 20_000, slowItems: 120, slowPages: 200, // of fewer pages the start takes too much of the time
	scaling: []int{1000, 10_000, 50_000}, concurrency: []int{1, 8}, corpusRounds: 1,
}

// tiny shows that everything works.
var tiny = sizes{
	medium: shape(5, 5, 200), pairs: shape(10, 10, 1000), pairsOf: 1, without: 1, each: 1,
	profiles: 5, indicators: 200, slowItems: 8, slowPages: 4,
	scaling: []int{100, 300}, concurrency: []int{1, 4}, corpusRounds: 1,
}

func shape(profiles, alerts, indicators int) threatmatchtest.Shape {
	return threatmatchtest.Shape{Seed: 1, Profiles: profiles, Alerts: alerts, Indicators: indicators,
		Start: sandbox.GeneratedFrom(time.Now()), Span: 60 * 24 * time.Hour}
}

// mixed is a shape of some so many objects in the proportions of a medium import, in which a profile, an alert and forty
// indicators make 63.
func mixed(objects int) threatmatchtest.Shape {
	items := max(1, objects/63)
	return shape(items, items, 40*items)
}

func generated(s threatmatchtest.Shape) twins.Intelligence { return twins.Intelligence{Shape: s} }

// says names a shape for people.
func says(s threatmatchtest.Shape, messages int) string {
	return fmt.Sprintf("%s profiles, %s alerts and %s indicators, which make %s objects", words.Grouped(s.Profiles), words.Grouped(s.Alerts),
		words.Grouped(s.Indicators), words.Grouped(messages))
}
