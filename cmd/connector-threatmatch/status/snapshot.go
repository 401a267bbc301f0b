package status

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
	"github.com/opencti-connectors/threatmatch/emit/followup"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
)

// Limit is what holds a run up most. Its zero value says that nothing is known.
type Limit struct {
	Station string // of the snapshot's way
	Stage   string // of the pipeline's
	Says    string // what the run waits for
	Trouble bool   // it is none that a run has to expect
}

// Tells takes up what tells of the run under way, in its own words.
func (s *Status) Tells(run func() (snapshot.Run, Limit)) { s.change(func() { s.run = run }) }

// Shares takes up what tells how much of what was sent OpenCTI has imported.
func (s *Status) Shares(share func() followup.Imports) { s.change(func() { s.share = share }) }

// Remembers takes up the runs that have ended, newest first. Nobody changes them any more.
func (s *Status) Remembers(runs []snapshot.Run) { s.change(func() { s.history = runs }) }

// glance is what of the status is read at once; nothing of it calls back.
type glance struct {
	at       time.Time
	activity activity
	info     opencti.Info
	broker   rabbitmq.Stats
	taker    string
	lately   Lately
	window   int64
	refused  []string // names of remotes
	away     bool     // OpenCTI does not answer pings
	stopping bool
	run      func() (snapshot.Run, Limit)
	share    func() followup.Imports
	history  []snapshot.Run
}

func (s *Status) glance() glance {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := glance{at: s.now(), activity: s.activity, info: s.info, lately: s.lately(), window: s.window, run: s.run, share: s.share, history: s.history,
		away: s.failedPings > 1, stopping: s.stopping, taker: s.about.queue.name}
	if s.publisher != nil {
		g.broker = s.publisher.Stats()
	} else {
		g.broker.Refused = s.total.broker.Refused
		g.run = nil
	}
	for _, r := range refusals {
		if s.refused[r.remote] || r.remote == RabbitMQ && g.broker.Refused {
			g.refused = append(g.refused, string(r.remote))
		}
	}
	return g
}

// Snapshot is what there is to show at this moment.
func (s *Status) Snapshot() snapshot.Snapshot {
	g := s.glance()
	var seen followup.Imports
	if g.share != nil {
		seen = g.share()
	}
	shot := snapshot.Snapshot{
		At: g.at.UTC(), Name: s.about.name, ConnectorID: s.about.id, Version: s.about.version, Started: s.about.began.UTC(), Activity: g.shownActivity(),
		NextRun: g.info.NextRun, Live: verdictOf(s.ailment()), Ready: verdictOf(s.unready()),
		Problems: s.problems.newestFirst(), History: g.history, FailedRequests: s.failedRequests(),
		Queue: snapshot.Queue{
			Bytes: g.queueBytes(seen), Threshold: int64(g.info.QueueThreshold * 1e6), Buffering: g.info.Buffering,
			Connected: g.broker.Connected, Blocked: g.broker.Blocked, Unconfirmed: int64(g.broker.Unconfirmed),
		},
	}
	shot.Imports = ImportsOf(seen)
	shot.Imports.Unknown = s.Shown(shot.Imports.Unknown)
	var limit Limit
	if g.run != nil {
		run, holds := g.run()
		shot.Run, limit = &run, holds
		shot.Stages = s.stages(g, limit)
	}
	shot.Way = way(shot, g, limit)
	shot.Says = says(shot)
	return shot
}

// stopping is what is shown of a run that was told to stop.
const stopping = "stopping"

func (g glance) shownActivity() string {
	if g.stopping && g.activity == running {
		return stopping
	}
	return string(g.activity)
}

// queueBytes is the size of the queue as a run was told last or, between two runs, whoever follows the works.
func (g glance) queueBytes(seen followup.Imports) int64 {
	if g.activity != running && !seen.AsOf.IsZero() {
		return seen.WaitingBytes
	}
	return int64(g.info.QueueMessagesSize * 1e6)
}

func verdictOf(reason string) snapshot.Verdict {
	return snapshot.Verdict{OK: reason == "", Reason: reason}
}

// ImportsOf is what is shown of OpenCTI's share.
func ImportsOf(i followup.Imports) snapshot.Imports {
	shown := snapshot.Imports{
		Open: i.Open, Expected: i.Expected, Done: i.Done, AsOf: i.AsOf.UTC(), Lately: i.Lately, Rate: i.Rate.PerSecond, RateAt: i.Rate.At.UTC(), Failed: Reasons(i.Failed),
	}
	if left, known := i.Remaining(); known {
		shown.Remaining = left.Seconds()
	}
	if i.Err != nil {
		shown.Unknown = i.Err.Error()
	}
	return shown
}

// Reasons lists what OpenCTI could not import by why, most first.
func Reasons(counted map[string]int64) (listed []snapshot.Count) {
	for _, name := range slices.Sorted(maps.Keys(counted)) {
		if counted[name] <= 0 {
			continue
		}
		listed = append(listed, snapshot.Count{Name: name, Count: counted[name]})
	}
	slices.SortStableFunc(listed, func(a, b snapshot.Count) int { return int(b.Count - a.Count) })
	for i, c := range listed {
		if strings.TrimSpace(c.Name) == "" {
			listed[i].Name = "no reason given"
		}
	}
	return listed
}

// stages are those of the run under way.
func (s *Status) stages(g glance, limit Limit) []snapshot.Stage {
	r, l := s.reading(), g.lately
	stages := []snapshot.Stage{
		{Name: snapshot.Fetch, Passed: r.Fetched, Rate: l.Fetched, Unit: "items"},
		{Name: snapshot.Transform, Passed: r.Transformed, Rate: l.Transformed, Unit: "items",
			Room: &snapshot.Room{Used: r.ToTransform.Used, Bound: r.ToTransform.Bound, Share: l.ToTransform, Unit: "items"}},
		{Name: snapshot.Emit, Passed: r.Emitted, Rate: l.Emitted, Unit: "items",
			Room: &snapshot.Room{Used: r.ToEmit.Used, Bound: r.ToEmit.Bound, Share: l.ToEmit, Unit: "items"}},
		{Name: snapshot.Publish, Passed: int64(g.broker.Confirmed), Rate: l.Confirmed, Unit: "messages",
			Room: &snapshot.Room{Used: g.broker.UnconfirmedBytes, Bound: g.window, Share: l.Window, Unit: "bytes"}},
	}
	for i := range stages {
		stages[i].Bottleneck = stages[i].Name == limit.Stage
	}
	return stages
}
