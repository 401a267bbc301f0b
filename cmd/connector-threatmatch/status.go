package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

const (
	// heartbeatEvery is the time between two pings; OpenCTI takes a connector for dead after some of them.
	heartbeatEvery = 40 * time.Second
	// heartbeatLimit is how long the heartbeat may be silent: two missed pings can be a platform that answers slowly.
	heartbeatLimit = 3 * heartbeatEvery
	// stallLimit is how long a run may do nothing at all. Every wait that the connector knows (for the platform, the
	// broker, the API, the queue) repeats something within two minutes, so that this much silence is none of them.
	stallLimit = 15 * time.Minute
)

// activity is what the connector is at.
type activity string

const (
	starting activity = "starting" // until the platform knows it
	idle     activity = "idle"
	running  activity = "running"
	stopped  activity = "stopped"
)

// status is what the connector shows of itself. It is safe for concurrent use.
type status struct {
	now   func() time.Time
	limit time.Duration // of silence within a run

	mu         sync.Mutex // guards all below
	activity   activity
	registered bool
	beat       time.Time // of the last ping that began or ended; zero before the first
	datasets   map[string]datasetCounts
	total      counts
	api        *threatmatch.Client
	index      *index.Index
	lastRun    func() time.Time
	emitter    *emit.Emitter       // of the run under way
	publisher  *rabbitmq.Publisher // of the run under way
	seen       traces
	seenAt     time.Time
}

// counts are figures since the start that nothing else keeps.
type counts struct {
	runs, failedRuns  int64
	pings, pingErrors int64
	calls             int64 // to the platform, pings not included
	apiErrors         int64
	objects           emit.Account   // of the runs that have ended
	broker            rabbitmq.Stats // of the same
}

type datasetCounts struct{ pages, items, leftOut, problems int64 }

func newStatus(cfg Config) *status {
	s := &status{now: time.Now, limit: stallLimit, activity: starting, datasets: map[string]datasetCounts{}}
	for _, name := range cfg.datasets() {
		s.datasets[name] = datasetCounts{}
	}
	if rate := cfg.ThreatMatch.RateLimit; rate > 0 {
		const year = 365 * 24 * 3600
		s.limit += time.Duration(min(1/rate, year) * float64(time.Second)) // what may pass between two requests
	}
	s.seenAt = s.now()
	return s
}

// change applies f under the lock.
func (s *status) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// fetched counts a page.
func (s *status) fetched(dataset string, items int) {
	s.change(func() {
		d := s.datasets[dataset]
		d.pages++
		d.items += int64(items)
		s.datasets[dataset] = d
	})
}

// joined says that the platform knows the connector, and that the heartbeat is about to start.
// lastRun is when the last run began that delivered everything.
func (s *status) joined(x *index.Index, lastRun func() time.Time) {
	s.change(func() {
		s.index, s.lastRun = x, lastRun
		s.registered, s.activity, s.beat = true, idle, s.now()
	})
}

// ending says that the connector is about to stop.
func (s *status) ending() { s.change(func() { s.activity = stopped }) }

// pinged counts a ping.
func (s *status) pinged(err error) {
	s.change(func() {
		s.beat = s.now()
		s.total.pings++
		if err != nil {
			s.total.pingErrors++
		}
	})
}

// beating says that a ping is about to be sent.
func (s *status) beating() { s.change(func() { s.beat = s.now() }) }

// called counts a call of the platform other than a ping.
func (s *status) called() { s.change(func() { s.total.calls++ }) }

// runStarted takes up a run.
func (s *status) runStarted(e *emit.Emitter, p *rabbitmq.Publisher) {
	s.change(func() {
		s.activity, s.emitter, s.publisher = running, e, p
		s.total.runs++
	})
}

// runEnded closes the books on a run.
func (s *status) runEnded(report pipeline.Report, failure error) {
	s.change(func() {
		s.activity = idle
		s.total.objects = addAccounts(s.total.objects, s.emitter.Account())
		s.total.broker = addStats(s.total.broker, s.publisher.Stats())
		s.total.objects.Parked = 0
		b := &s.total.broker
		b.Unconfirmed, b.UnconfirmedBytes, b.Connected, b.Blocked = 0, 0, false, false
		s.emitter, s.publisher = nil, nil
		for name, d := range report.Datasets {
			c := s.datasets[name]
			c.leftOut += int64(d.Rejected)
			c.problems += int64(d.Problems)
			s.datasets[name] = c
		}
		if failure != nil {
			s.total.failedRuns++
		}
	})
}

// figures are the counts, the run under way included.
func (s *status) figures() (counts, map[string]datasetCounts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	datasets := make(map[string]datasetCounts, len(s.datasets))
	for name, d := range s.datasets {
		datasets[name] = d
	}
	total := s.total
	if s.emitter != nil {
		total.objects = addAccounts(total.objects, s.emitter.Account())
		total.broker = addStats(total.broker, s.publisher.Stats())
	}
	return total, datasets
}

func addAccounts(a, b emit.Account) emit.Account {
	return emit.Account{
		Messages: a.Messages + b.Messages, Confirmed: a.Confirmed + b.Confirmed, Repeated: a.Repeated + b.Repeated,
		Known: a.Known + b.Known, Refused: a.Refused + b.Refused, Cleaned: a.Cleaned + b.Cleaned, Held: a.Held + b.Held,
		Cut: a.Cut + b.Cut, Evicted: a.Evicted + b.Evicted, Parked: b.Parked,
	}
}

// addStats adds what counts up and takes what is of the moment from b.
func addStats(a, b rabbitmq.Stats) rabbitmq.Stats {
	b.Published += a.Published
	b.Confirmed += a.Confirmed
	b.Again += a.Again
	b.Returned += a.Returned
	b.Nacked += a.Nacked
	b.Attempts += a.Attempts
	b.Sessions += a.Sessions
	b.Refreshes += a.Refreshes
	return b
}

// traces are what a run that gets on, or waits and tries again, leaves behind: as long as one of them changes, it lives.
type traces struct {
	runs, pages, calls, requests int64
	broker                       rabbitmq.Stats
}

// traces reads the present ones; s.mu is held.
func (s *status) traces() traces {
	t := traces{runs: s.total.runs, calls: s.total.calls}
	for _, d := range s.datasets {
		t.pages += d.pages
	}
	if s.api != nil {
		t.requests = s.api.Requests()
	}
	if s.publisher != nil {
		t.broker = s.publisher.Stats()
	}
	return t
}

// ailment says why the connector should be started anew, "" when it is well. Silence is measured from one question to the
// next, so that it costs a run nothing.
func (s *status) ailment() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if silent := now.Sub(s.beat); !s.beat.IsZero() && s.activity != stopped && silent > heartbeatLimit {
		return fmt.Sprintf("the heartbeat has not run for %s", silent.Round(time.Second))
	}
	t := s.traces()
	// A broker that blocks says so once; the connection's own heartbeat tells whether it is still there.
	if t != s.seen || t.broker.Blocked || (s.activity != running && s.activity != starting) {
		s.seen, s.seenAt = t, now
	}
	if silent := now.Sub(s.seenAt); silent > s.limit {
		return fmt.Sprintf("nothing was fetched, confirmed or tried again for %s (%s)", silent.Round(time.Second), s.activity)
	}
	return ""
}

// watchedPlatform counts the calls of a run: a run that waits for the platform is seen to try.
type watchedPlatform struct {
	*opencti.Client
	status *status
}

// AddWork counts and passes on.
func (w watchedPlatform) AddWork(ctx context.Context, friendlyName string) (string, error) {
	w.status.called()
	return w.Client.AddWork(ctx, friendlyName)
}

// AddExpectations counts and passes on.
func (w watchedPlatform) AddExpectations(ctx context.Context, workID string, n int) error {
	w.status.called()
	return w.Client.AddExpectations(ctx, workID, n)
}

// Expectations counts and passes on.
func (w watchedPlatform) Expectations(ctx context.Context, workID string) (int, error) {
	w.status.called()
	return w.Client.Expectations(ctx, workID)
}

// CloseWork counts and passes on.
func (w watchedPlatform) CloseWork(ctx context.Context, workID, message string, inError bool) error {
	w.status.called()
	return w.Client.CloseWork(ctx, workID, message, inError)
}

// QueueSize counts and passes on.
func (w watchedPlatform) QueueSize(ctx context.Context) (messages, bytes int64, err error) {
	w.status.called()
	return w.Client.QueueSize(ctx)
}

// Holds counts and passes on.
func (w watchedPlatform) Holds(ctx context.Context, ids []string) (map[string]bool, error) {
	w.status.called()
	return w.Client.Holds(ctx, ids)
}

// watchedProgress counts what is fetched.
type watchedProgress struct {
	progress
	status *status
}

// Page counts and passes on.
func (w watchedProgress) Page(dataset string, items int) {
	w.status.fetched(dataset, items)
	w.progress.Page(dataset, items)
}

// watchedTransport counts the requests to ThreatMatch that fail.
type watchedTransport struct {
	http.RoundTripper
	status *status
}

// RoundTrip counts and passes on.
func (w watchedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.RoundTripper.RoundTrip(r)
	if (err != nil && r.Context().Err() == nil) || (err == nil && resp.StatusCode >= http.StatusBadRequest) {
		w.status.change(func() { w.status.total.apiErrors++ })
	}
	return resp, err
}

// CloseIdleConnections passes on.
func (w watchedTransport) CloseIdleConnections() {
	if t, ok := w.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}
