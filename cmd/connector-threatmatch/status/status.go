// Package status holds what is known of the running connector, and tells it: as health, as metrics, in pings and in log
// lines.
package status

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/emit/followup"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
	"github.com/opencti-connectors/threatmatch/state"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// activity is what the connector is at.
type activity string

const (
	starting activity = "starting" // until the platform knows it
	idle     activity = "idle"
	running  activity = "running"
	stopped  activity = "stopped"
)

// Status is what the connector shows of itself. It is safe for concurrent use.
type Status struct {
	now      func() time.Time
	limit    time.Duration // of silence within a run
	about    about
	problems *problems

	mu         sync.Mutex // guards all below
	activity   activity
	registered bool
	diskFull   bool            // the connector cannot start for want of room in its folder
	refused    map[Remote]bool // who refused the credentials when it was last asked; of the broker its publisher tells
	unread     string          // why the last run could read nothing, "" where it could
	beat       time.Time       // when the heartbeat did something last; zero before it starts
	// failedPings counts those in a row; one may fail.
	failedPings int
	talking     bool // the heartbeat talks to the platform, or waits for whoever does
	info        opencti.Info
	datasets    map[string]datasetCounts
	total       counts
	requests    func() int64
	api         func() threatmatch.Figures
	standing    func(dataset string) state.Standing // nil before it has joined
	index       *index.Index
	lastRun     func() time.Time
	imports     func() followup.Counts
	emitter     *emit.Emitter   // of the run under way
	publisher   Outlet          // of the run under way
	meter       *pipeline.Meter // of the run under way; between two of none
	window      int64           // bytes of that which may be unconfirmed
	seen        traces
	seenAt      time.Time
	stopping    bool     // it was told to stop
	asking      int      // calls of the platform under way that the emitter waits for
	samples     []sample // of the run under way, oldest first
	run         func() (snapshot.Run, Limit)
	share       func() followup.Imports
	history     []snapshot.Run // newest first
}

// Outlet is where the messages of a run go.
type Outlet interface{ Stats() rabbitmq.Stats }

// taker is what takes the messages of a run.
type taker struct {
	name   string
	cutOff string // what to say when it cannot be reached
}

func takerOf(cfg config.Config) taker {
	if cfg.Connector.QueueProtocol == config.QueueAPI {
		return taker{"OpenCTI's API", "OpenCTI takes no bundles, and a run waits for it; check that it runs, and its RabbitMQ"}
	}
	return taker{"RabbitMQ", "RabbitMQ cannot be reached, and a run waits for it; check that it runs, and MQ_HOST and MQ_PORT where they are set"}
}

// Taker names what takes the messages of a run.
func (s *Status) Taker() string { return s.about.queue.name }

// about is what does not change.
type about struct {
	name, id, version string
	queue             taker
	began             time.Time
}

// New returns the status of a connector that starts and that imports these datasets.
func New(cfg config.Config, datasets []string) *Status {
	s := &Status{
		about:    about{queue: takerOf(cfg), name: cfg.Connector.Name, id: cfg.Connector.ID, began: time.Now()},
		problems: &problems{secrets: remote.NewRedactor(cfg.Secrets()...)},
		now:      time.Now, limit: stallLimitAt(cfg.ThreatMatch.RateLimit), activity: starting,
		info:  opencti.Info{RunAndTerminate: cfg.Connector.RunOnce(), QueueThreshold: cfg.Connector.QueueThreshold},
		meter: new(pipeline.Meter), datasets: map[string]datasetCounts{}, refused: map[Remote]bool{}, requests: func() int64 { return 0 }, api: func() threatmatch.Figures { return threatmatch.Figures{} },
	}
	for _, name := range datasets {
		s.datasets[name] = datasetCounts{}
	}
	s.seenAt = s.now()
	return s
}

// change applies f under the lock.
func (s *Status) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// WatchRequests takes up the count of the requests to ThreatMatch.
func (s *Status) WatchRequests(count func() int64) { s.change(func() { s.requests = count }) }

// Fetched counts a page.
func (s *Status) Fetched(dataset string, items int) {
	s.change(func() {
		d := s.datasets[dataset]
		d.pages++
		d.items += int64(items)
		if items > 0 {
			s.unread = ""
		}
		s.datasets[dataset] = d
	})
}

// Joined says that the platform knows the connector, and that the heartbeat is about to start.
// lastRun is when the last run began that delivered everything, imports what OpenCTI made of its works.
func (s *Status) Joined(x *index.Index, lastRun func() time.Time, imports func() followup.Counts) {
	s.change(func() {
		s.index, s.lastRun, s.imports = x, lastRun, imports
		s.registered, s.activity, s.beat = true, idle, s.now()
	})
}

// DiskIsFull says whether there was no room for the connector's folder when it tried to start.
func (s *Status) DiskIsFull(full bool) { s.change(func() { s.diskFull = full }) }

// Ending says that the connector is about to stop.
func (s *Status) Ending() { s.change(func() { s.activity = stopped }) }

// Stopping says that the connector was told to stop, and settles what is under way.
func (s *Status) Stopping() { s.change(func() { s.stopping = true }) }

// Beat says that the heartbeat is about to talk to the platform, or has done so. A platform that is slow, or that is asked
// several times, keeps it for minutes: then each request about the state is a beat, see [Status.WatchState].
func (s *Status) Beat(talking bool) { s.change(func() { s.beat, s.talking = s.now(), talking }) }

// requested says that a request about the state is about to be sent, or was answered. It is none of the heartbeat's as long as
// that does not wait for it. Who has not joined yet tries, too, by asking for the state.
func (s *Status) requested() {
	s.change(func() {
		if s.talking {
			s.beat = s.now()
		}
		if s.activity == starting {
			s.total.calls++
		}
	})
}

// Pinged counts a ping.
func (s *Status) Pinged(err error) {
	s.change(func() {
		s.total.pings++
		s.failedPings++
		if err == nil {
			s.failedPings = 0
		} else {
			s.total.pingErrors++
		}
	})
}

// Meter is that of the pipeline of the run that was taken up.
func (s *Status) Meter() *pipeline.Meter { return read(s, func() *pipeline.Meter { return s.meter }) }

// Told is what a ping tells besides the state.
func (s *Status) Told() opencti.Info { return read(s, func() opencti.Info { return s.info }) }

// Tell changes what the next pings tell; f must not use the status.
func (s *Status) Tell(f func(*opencti.Info)) { s.change(func() { f(&s.info) }) }

// Called counts a call of the platform other than a ping.
func (s *Status) Called() { s.change(func() { s.total.calls++ }) }

// RunStarted takes up a run, of which so many bytes may be unconfirmed.
func (s *Status) RunStarted(e *emit.Emitter, p Outlet, window int64) {
	s.change(func() {
		s.window = window
		s.activity, s.emitter, s.publisher, s.meter, s.samples, s.run = running, e, p, new(pipeline.Meter), nil, nil
		s.total.runs++
	})
}

// RunFailed counts a run that failed before it was taken up.
func (s *Status) RunFailed() {
	s.change(func() {
		s.total.runs++
		s.total.failedRuns++
	})
}

// RunEnded closes the books on the run under way; failure is nil when it delivered everything.
func (s *Status) RunEnded(report pipeline.Report, failure error) {
	s.change(func() {
		s.activity = idle
		s.total.objects = addAccounts(s.total.objects, s.emitter.Account())
		s.total.broker = addStats(s.total.broker, s.publisher.Stats())
		s.total.objects.Parked = 0
		b := &s.total.broker
		b.Unconfirmed, b.UnconfirmedBytes, b.Connected, b.Blocked = 0, 0, false, false
		s.total.passed = addPassed(s.total.passed, s.meter.Read())
		s.emitter, s.publisher, s.meter, s.samples, s.run = nil, nil, new(pipeline.Meter), nil, nil
		for name, d := range report.Datasets {
			c := s.datasets[name]
			c.leftOut += int64(d.Rejected)
			c.problems += int64(d.Problems)
			s.datasets[name] = c
		}
		if failure != nil {
			s.total.failedRuns++
		}
		if report.Err == nil && len(report.Datasets) > 0 { // else the run was ended for another reason, or read nothing on purpose
			s.unread = s.Shown(nothingRead(report))
		}
	})
}

// nothingRead says why a run could read nothing of any dataset, "" where it could or there was nothing to read.
func nothingRead(report pipeline.Report) string {
	var why error
	for _, name := range slices.Sorted(maps.Keys(report.Datasets)) {
		d := report.Datasets[name]
		if d.Items > 0 || d.Err == nil { // an item that fails is no dataset that cannot be read
			return ""
		}
		why = cmp.Or(why, fmt.Errorf("%s: %w", name, d.Err))
	}
	if why == nil {
		return ""
	}
	return "the last run could read nothing from ThreatMatch: " + why.Error()
}

// figures are the counts, the run under way included.
func (s *Status) figures() (counts, map[string]datasetCounts) {
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

// read returns what f reads under the lock.
func read[T any](s *Status, f func() T) T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f()
}

func (s *Status) requestCount() int64       { return read(s, func() int64 { return s.requests() }) }
func (s *Status) currentActivity() activity { return read(s, func() activity { return s.activity }) }
func (s *Status) platformKnowsIt() bool     { return read(s, func() bool { return s.registered }) }
func (s *Status) openIndex() *index.Index   { return read(s, func() *index.Index { return s.index }) }

// sinceBeat is the age of the heartbeat.
func (s *Status) sinceBeat() time.Duration {
	return read(s, func() time.Duration {
		if s.beat.IsZero() {
			return 0 // before the first
		}
		return s.now().Sub(s.beat)
	})
}

// importCounts is what OpenCTI's workers made of the works.
func (s *Status) importCounts() followup.Counts {
	if counts := read(s, func() func() followup.Counts { return s.imports }); counts != nil {
		return counts()
	}
	return followup.Counts{}
}

// lastSuccess is when the last run began that delivered everything, zero for none.
func (s *Status) lastSuccess() time.Time {
	if began := read(s, func() func() time.Time { return s.lastRun }); began != nil {
		return began()
	}
	return time.Time{}
}
