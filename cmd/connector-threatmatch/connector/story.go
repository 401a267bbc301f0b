package connector

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/orders"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/emit/followup"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state"
)

// toldEvery is the time between two lines about a run under way.
const toldEvery = 30 * time.Second

// story is what a run tells of itself while it is under way.
type story struct {
	log *zap.Logger
	// Of what it talks to: figures since the start of the program or of the run.
	requests func() int64
	silent   func() bool // ThreatMatch does not answer
	told     func() opencti.Info
	account  func() emit.Account
	broker   func() rabbitmq.Stats
	by       string        // what takes the messages
	kept     func() string // names the deposit that the run waits for, "" for none
	stages   func() status.Lately
	meter    *pipeline.Meter
	imported func() followup.Imports
	rate     float64 // of requests to ThreatMatch, 0 for any

	purpose  string
	began    time.Time
	mu       sync.Mutex // guards all below
	filled   time.Time  // when the queue was last seen full
	datasets []*chapter // in the order in which they are shown
	before   reading
	start    reading
}

// chapter is how far a dataset is.
type chapter struct {
	dataset string
	since   time.Time
	resumed bool // an earlier run has begun it
	items   int64
	at      pipeline.Position
	pages   int
	pace    pace
	done    bool
	err     error
}

// reading is what was counted at a moment.
type reading struct {
	at       time.Time
	sent     int64
	requests int64
}

// newStory begins the story of a run.
func (p *program) newStory(why purpose, from []pipeline.Source, checkpoint *state.RunCheckpoint, emitter *emit.Emitter, out outlet, kept *deposits) *story {
	s := &story{
		log: p.plain, requests: p.api.Requests, silent: p.api.Silent, told: p.status.Told, account: emitter.Account, broker: out.Stats, by: p.status.Taker(), kept: kept.waitsFor,
		stages: p.status.Lately, meter: p.status.Meter(), imported: p.imported.Imports,
		rate: p.cfg.ThreatMatch.RateLimit, purpose: why.String(), began: time.Now(),
	}
	for _, source := range from {
		at := checkpoint.Cursor(source.Dataset())
		s.datasets = append(s.datasets, &chapter{dataset: source.Dataset(), since: at.Since, resumed: at.Pass != nil && at.Pass.After != ""})
	}
	s.before = s.read()
	s.start = s.before
	return s
}

// whileUnderWay tells a line now and then until quit is closed.
func (s *story) whileUnderWay(quit <-chan struct{}) {
	ticker := time.NewTicker(toldEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.tell()
		case <-quit:
			return
		}
	}
}

// Page takes note of a page.
func (s *story) Page(dataset string, items int, at pipeline.Position) {
	s.change(dataset, func(c *chapter) {
		c.items += int64(items)
		c.at = at
		c.pages++
		c.pace.reached(at.Share, c.pages, time.Now())
	})
}

// Done takes note of a dataset's end.
func (s *story) Done(dataset string, err error) {
	s.change(dataset, func(c *chapter) { c.done, c.err = true, err })
}

func (s *story) change(dataset string, f func(*chapter)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.datasets {
		if c.dataset == dataset {
			f(c)
		}
	}
}

func (s *story) read() reading {
	return reading{at: time.Now(), sent: s.account().Confirmed, requests: s.requests()}
}

// tell writes a line about the time since the last one.
func (s *story) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.read()
	took := max(now.at.Sub(s.before.at), time.Millisecond).Seconds()
	rate := float64(now.sent-s.before.sent) / took
	waits := s.waitsFor(float64(now.requests-s.before.requests) / took)
	s.before = now
	var where []string
	for _, c := range s.datasets {
		where = append(where, c.String())
	}
	if len(where) == 0 {
		where = append(where, "what OpenCTI could not import")
	}
	left := ""
	if d, known := s.left(waits); known {
		left = ", about " + words.Duration(d) + " left"
	}
	s.log.Info(fmt.Sprintf("importing: %s; %s sent, %s/s%s%s; waits for %s", strings.Join(where, ", "), words.Counted(now.sent, "object"), words.Grouped(int64(rate)), left, share(s.imported()), waits.Says))
}

// show tells an operator who watches.
func (s *story) show(p *orders.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, account := s.read(), s.account()
	p.Sent, p.Known = p.Sent+account.Confirmed, p.Known+account.Known
	rate, waits := s.lately(now)
	p.Rate, p.WaitsFor = rate, waits.Says
	if left, known := s.left(waits); known {
		p.Remaining = left.Seconds()
	}
	for _, c := range s.datasets {
		p.Datasets = append(p.Datasets, orders.Dataset{
			Name: strings.TrimPrefix(c.dataset, state.InBackfill("")), Items: c.items, Left: c.at.Left, Until: c.at.Until, Share: c.at.Share, Resumed: c.resumed, Done: c.done && c.err == nil,
		})
	}
}

// waitsForNow tells somebody who watches what holds the run up, and how long the rest will take.
func (s *story) waitsForNow() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, waits := s.lately(s.read())
	said := waits.Says
	if left, known := s.left(waits); known {
		said += ", about " + words.Duration(left) + " left"
	}
	return said + share(s.imported())
}

// lately tells how many objects a second are sent of late, and what holds the run up; mu is held.
func (s *story) lately(now reading) (rate float64, waits status.Limit) {
	since := s.before
	if now.at.Sub(since.at) < toldEvery/3 { // too short to tell
		since = s.start
	}
	took := max(now.at.Sub(since.at), time.Second).Seconds()
	return float64(now.sent-since.sent) / took, s.waitsFor(float64(now.requests-since.requests) / took)
}

// String tells how far a dataset is.
func (c *chapter) String() string {
	switch {
	case c.done && errors.Is(c.err, context.Canceled):
		return c.dataset + " stopped after " + words.Grouped(c.items)
	case c.done && c.err != nil:
		return c.dataset + " failed after " + words.Grouped(c.items)
	case c.done:
		return c.dataset + " " + words.Grouped(c.items) + " done"
	case c.pages == 0:
		return c.dataset + " listed"
	case c.at.Until.IsZero():
		return fmt.Sprintf("%s %s of %s", c.dataset, words.Grouped(c.items), orders.Listed(c.items+int64(c.at.Left), c.resumed))
	}
	return fmt.Sprintf("%s %s up to %s", c.dataset, words.Grouped(c.items), c.at.Until.UTC().Format("2006-01-02 15:04"))
}

// left is the time that the rest will take, by what the run waits for; mu is held.
func (s *story) left(waits status.Limit) (d time.Duration, known bool) {
	switch {
	case waits.Trouble:
		return 0, false
	case waits.Says == fullQueue:
		return s.leftByImports()
	case waits.Says == rateLimit:
		return s.leftByCalls()
	}
	return s.leftByPace()
}

// leftByImports is the time that OpenCTI takes for as many messages as the rest will bring: a run that waits for the queue goes on no
// faster than that is emptied. What it has read so far, and at what pace, says nothing: a burst fills the queue at first. Of what is
// read by date each is taken to bring one message, as indicators do, and the listed items what else was sent.
func (s *story) leftByImports() (d time.Duration, known bool) {
	var listed, dated struct{ read, left float64 }
	for _, c := range s.datasets {
		of := &dated
		if c.at.Until.IsZero() {
			of = &listed
		}
		of.read += float64(c.items)
		switch {
		case c.done:
		case of == &listed && c.pages > 0:
			of.left, known = of.left+float64(c.at.Left), true
		case of == &dated && c.at.Share > 0.01: // less tells nothing
			of.left, known = of.left+float64(c.items)*(1-c.at.Share)/c.at.Share, true
		default:
			return 0, false
		}
	}
	rate, sent := s.imported().Rate, float64(s.account().Confirmed)
	if !known || sent == 0 || rate.PerSecond <= 0 {
		return 0, false
	}
	messages := dated.left * min(1, sent/max(1, dated.read))
	if listed.read > 0 {
		messages += listed.left * max(0, sent-dated.read) / listed.read
	}
	return rate.Takes(int64(messages)), true
}

// leftByCalls is the time that the calls of all datasets take at the rate limit, which they share; it is known when each dataset
// tells of its own.
func (s *story) leftByCalls() (d time.Duration, known bool) {
	calls := 0.
	for _, c := range s.datasets {
		if c.done {
			continue
		}
		n, tells := c.callsLeft()
		if !tells {
			return 0, false
		}
		calls, known = calls+n, true
	}
	return time.Duration(calls / s.rate * float64(time.Second)), known
}

// leftByPace is the time that the slowest dataset takes at its pace of late, of those that tell.
func (s *story) leftByPace() (longest time.Duration, known bool) {
	for _, c := range s.datasets {
		if d, tells := c.pace.left(c.at.Share, time.Now()); tells && !c.done {
			longest, known = max(longest, d), true
		}
	}
	return longest, known
}

// callsLeft is how many calls of ThreatMatch the rest takes: one for each item, or one for each page of a dataset that is read by date.
func (c *chapter) callsLeft() (n float64, known bool) {
	if c.at.Until.IsZero() {
		return float64(c.at.Left), c.pages > 0
	}
	return c.pace.pagesLeft(c.at.Share, c.pages)
}
