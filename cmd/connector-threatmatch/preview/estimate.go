package preview

import (
	"time"

	"github.com/opencti-connectors/threatmatch/fetch"
)

// Import is what importing the window would take, with the settings at hand and an OpenCTI that holds nothing of it yet.
type Import struct {
	// Estimated says that the figures are worked out from samples.
	Estimated bool `json:"estimated"`
	// Calls of ThreatMatch's API: lists, items and pages.
	Calls int `json:"calls"`
	// Messages to OpenCTI's queue, each for one version of an object, and their size. An object of which copies say different things
	// can take another one or two.
	Messages     int   `json:"messages"`
	MessageBytes int64 `json:"message_bytes"`
	// AboveThreshold says that the messages are more than CONNECTOR_QUEUE_THRESHOLD, at which a run waits.
	AboveThreshold bool `json:"above_queue_threshold"`
	// Seconds of reading ThreatMatch. Where answers are the bound it takes no less, and more where the machine is slow.
	Seconds float64 `json:"seconds"`
	// OpenCTISeconds is how long OpenCTI's workers take for the messages at the rate at which they last imported what the connector
	// with this CONNECTOR_STATE_DIR had sent; 0 where that is not known.
	OpenCTISeconds float64   `json:"opencti_seconds"`
	OpenCTIRate    float64   `json:"opencti_messages_per_second"`
	OpenCTIRateAt  time.Time `json:"opencti_rate_at,omitzero"`
	// Bound says what the time is due to: "rate limit" or "answers".
	Bound string `json:"bound_by"`

	RatePerSecond float64 `json:"rate_limit"` // 0 for none
	ItemSeconds   float64 `json:"seconds_per_item"`
	PageSeconds   float64 `json:"seconds_per_page"`
}

// pace is how fast calls can be made.
type pace struct {
	rate         float64 // a second, 0 for no limit
	concurrency  int     // items or pages side by side, of each dataset
	items, pages timing
}

// What bounds the time of an import.
const (
	byRate    = "rate limit"
	byAnswers = "answers"
)

// estimate works out what an import takes.
func (g *gathered) estimate(datasets []Dataset) Import {
	e := Import{
		Calls: 1, RatePerSecond: g.pace.rate, Bound: byAnswers, // one for the token
		ItemSeconds: g.pace.items.average().Seconds(), PageSeconds: g.pace.pages.average().Seconds(),
	}
	var slowest time.Duration
	for _, d := range datasets {
		c := g.counter.datasets[d.Name]
		messages, bytes := c.expect(d)
		e.Messages += messages
		e.MessageBytes += bytes
		e.Estimated = e.Estimated || !d.AllRead
		calls, each := d.InWindow, g.pace.items.average()/time.Duration(max(1, g.pace.concurrency))
		if d.Name == fetch.IndicatorsDataset {
			calls, each = 0, g.pace.pages.average()/time.Duration(max(1, g.pace.concurrency))
			if g.feed != nil {
				calls = g.feed.pagesFor(d.InWindow)
			}
		}
		e.Calls += 1 + calls // one for the list, or for the group of indicators
		slowest = max(slowest, time.Duration(calls)*each)
	}
	e.AboveThreshold = e.MessageBytes > g.queue
	if rate := g.imports; rate.PerSecond > 0 {
		e.OpenCTISeconds, e.OpenCTIRate, e.OpenCTIRateAt = rate.Takes(int64(e.Messages)).Seconds(), rate.PerSecond, rate.At
	}
	e.Seconds = slowest.Seconds()
	if g.pace.rate > 0 {
		if limited := float64(e.Calls) / g.pace.rate; limited > e.Seconds {
			e.Seconds, e.Bound = limited, byRate
		}
	}
	return e
}

// expect is how many messages a dataset brings, and their size, going by what the second half of those that were read brought.
func (c *count) expect(d Dataset) (messages int, bytes int64) {
	rest := d.InWindow - d.Read
	if d.AllRead || rest <= 0 || c.messages == 0 {
		return c.messages, c.messageBytes
	}
	each := float64(c.messages) / float64(max(1, d.Read))
	if c.lateItems > 0 {
		each = float64(c.lateMessages) / float64(c.lateItems)
	}
	more := int(each * float64(rest))
	return c.messages + more, c.messageBytes + int64(more)*(c.messageBytes/int64(c.messages))
}
