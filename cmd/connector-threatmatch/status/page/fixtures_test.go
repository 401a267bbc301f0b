package page

import (
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
)

// now is when the snapshots of the tests are taken.
var now = time.Date(2026, 3, 5, 13, 20, 45, 0, time.UTC)

func before(d time.Duration) time.Time { return now.Add(-d) }

// scenes are connectors that people look at.
func scenes() map[string]snapshot.Snapshot {
	return map[string]snapshot.Snapshot{
		"starting": starting(), "at-rest": atRest(), "running": running(), "buffering": buffering(), "backfill": backfilling(),
		"broker-away": brokerAway(), "throttled": throttled(), "after-failure": afterFailure(), "stopped": stopped(),
	}
}

func place(name string, rate float64, unit, says string) snapshot.Station {
	return snapshot.Station{Name: name, Rate: rate, Unit: unit, Says: says}
}

func quiet() []snapshot.Station {
	return []snapshot.Station{
		place(snapshot.ThreatMatch, 0, "items", "is not asked between runs"), place(snapshot.Connector, 0, "objects", "waits for the next run"),
		place(snapshot.QueueName, 0, "messages", "0 B of 500.0 MB"), place(snapshot.OpenCTI, 0, "messages", "has imported everything"),
	}
}

func known(activity, says string) snapshot.Snapshot {
	return snapshot.Snapshot{
		At: now, Name: "ThreatMatch", ConnectorID: "5f1c2c1e-6a0e-4a43-9d0d-6c2a3b1f7e55", Version: "1.4.0", Started: before(26*time.Hour + 12*time.Minute),
		Activity: activity, Live: snapshot.Verdict{OK: true}, Ready: snapshot.Verdict{OK: true}, Says: says, Way: quiet(),
		Queue: snapshot.Queue{Threshold: 500e6}, Imports: snapshot.Imports{AsOf: before(21 * time.Second)}, History: history(),
	}
}

func history() []snapshot.Run {
	ended := func(purpose string, ago, took time.Duration, sent int64, outcome string) snapshot.Run {
		return snapshot.Run{Purpose: purpose, Began: before(ago), Ended: before(ago - took), Sent: sent, Outcome: outcome}
	}
	runs := []snapshot.Run{
		ended("import", 21*time.Hour, 125*time.Second, 8920, "complete"),
		ended("resend", 25*time.Hour, 3*time.Second, 14, "complete"),
		ended("import", 46*time.Hour, 41*time.Minute, 95311, "incomplete: 2 items could not be fetched"),
		ended("backfill", 9*24*time.Hour, 7*time.Hour+12*time.Minute, 612044, "to be continued after the scheduled run"),
	}
	runs[0].Skipped, runs[0].LeftOut = 12, 3
	runs[2].Failed, runs[2].NotFetched, runs[2].Skipped = true, 2, 1204
	return runs
}

func starting() snapshot.Snapshot {
	s := known("starting", "The connector is starting: it asks OpenCTI to register it")
	s.Started, s.History, s.Imports, s.Queue = before(4*time.Second), nil, snapshot.Imports{}, snapshot.Queue{Threshold: 500e6}
	s.Ready = snapshot.Verdict{Reason: "OpenCTI does not know the connector yet"}
	s.Way = []snapshot.Station{
		place(snapshot.ThreatMatch, 0, "items", "has not been asked yet"), place(snapshot.Connector, 0, "objects", "is starting"),
		place(snapshot.QueueName, 0, "messages", "0 B of 500.0 MB"), place(snapshot.OpenCTI, 0, "messages", "was not reached yet"),
	}
	s.Way[3].Trouble = true
	return s
}

func atRest() snapshot.Snapshot {
	s := known("idle", "The connector is at rest; all that the last run sent is imported")
	s.NextRun = now.Add(3*time.Hour + 2*time.Minute)
	s.Imports.Rate, s.Imports.RateAt = 61.4, before(20*time.Hour)
	return s
}

func running() snapshot.Snapshot {
	s := known("running", "An import is under way: 2 of 3 datasets are read, 95,000 objects are sent; it waits for THREATMATCH_RATE_LIMIT")
	s.Way = []snapshot.Station{
		place(snapshot.ThreatMatch, 9.97, "items", "answers at the rate limit of 10 requests a second"),
		place(snapshot.Connector, 214, "objects", "waits for items"), place(snapshot.QueueName, 203, "messages", "3.1 MB of 500.0 MB"),
		place(snapshot.OpenCTI, 201.6, "messages", "keeps up"),
	}
	s.Way[0].Slowest = true
	s.Stages = stages(9.97, 214, 203)
	s.Stages[0].Bottleneck = true
	s.Run = &snapshot.Run{
		Purpose: "import", Began: before(11*time.Minute + 5*time.Second), Sent: 95011, Skipped: 1207, LeftOut: 4, WaitsFor: "THREATMATCH_RATE_LIMIT", Remaining: 370,
		Datasets: []snapshot.Dataset{
			{Name: "profiles", Since: before(30 * 24 * time.Hour), Items: 1204, Share: 1, Done: true},
			{Name: "alerts", Since: before(24 * time.Hour), Items: 2466, Left: 3691, Share: 2466. / 6157, Remaining: 370},
			{Name: "iocs", Since: before(24 * time.Hour), Items: 81000, Until: before(2 * time.Hour), Share: 1, Done: true},
		},
	}
	s.Queue.Bytes, s.Queue.Connected, s.Queue.Unconfirmed = 3_100_000, true, 14
	s.Imports = snapshot.Imports{Expected: 90120, Done: 89204, AsOf: before(3 * time.Second), Lately: 201.6, Rate: 204, RateAt: now, Remaining: 4.5}
	s.FailedRequests = []snapshot.Count{{Name: "answered 429, too many requests", Count: 3}, {Name: "no answer in time", Count: 1}}
	s.Problems = []snapshot.Problem{{
		At: before(6 * time.Minute), Says: "left out: OpenCTI knows no object of this type", Dataset: "alerts", Item: "20931", Reason: `object "x-tm-note--7d1b" is of the type x-tm-note`,
	}}
	return s
}

func stages(fetch, objects, messages float64) []snapshot.Stage {
	return []snapshot.Stage{
		{Name: "fetch", Passed: 84670, Rate: fetch, Unit: "items"},
		{Name: "transform", Passed: 84666, Rate: fetch, Unit: "items", Room: &snapshot.Room{Used: 2, Bound: 64, Share: 0.03, Unit: "items"}},
		{Name: "emit", Passed: 96218, Rate: objects, Unit: "objects", Room: &snapshot.Room{Used: 1, Bound: 64, Share: 0.02, Unit: "items"}},
		{Name: "publish", Passed: 90120, Rate: messages, Unit: "messages", Room: &snapshot.Room{Used: 212_000, Bound: 16 << 20, Share: 0.015, Unit: "bytes"}},
	}
}

// buffering is a platform that imports five messages a second.
func buffering() snapshot.Snapshot {
	s := known("running", "An import is under way, and waits for OpenCTI's workers: the queue is full")
	s.Way = []snapshot.Station{
		place(snapshot.ThreatMatch, 0, "items", "is not asked while the queue is full"), place(snapshot.Connector, 4.8, "objects", "waits for the queue to drain"),
		place(snapshot.QueueName, 4.9, "messages", "512.4 MB of 500.0 MB: the run waits for it to drain"), place(snapshot.OpenCTI, 4.9, "messages", "imports more slowly than it is sent to; more workers make it faster"),
	}
	s.Way[3].Slowest = true
	s.Stages = stages(0, 4.8, 4.9)
	s.Stages[0].Passed, s.Stages[1].Passed, s.Stages[2].Passed, s.Stages[3].Passed = 201000, 200800, 213000, 208112
	for i, share := range []float64{0, 1, 1, 0.96} {
		if r := s.Stages[i].Room; r != nil {
			r.Share, r.Used = share, int64(share*float64(r.Bound))
		}
	}
	s.Stages[3].Bottleneck = true
	s.Run = &snapshot.Run{
		Purpose: "import", Began: before(3*time.Hour + 20*time.Minute), Sent: 212904, WaitsFor: "OpenCTI's workers: the queue is at CONNECTOR_QUEUE_THRESHOLD",
		Datasets: []snapshot.Dataset{{Name: "iocs", Since: before(30 * 24 * time.Hour), Items: 201000, Until: before(9 * 24 * time.Hour), Share: 0.7}},
	}
	s.Queue = snapshot.Queue{Bytes: 512_400_000, Threshold: 500e6, Buffering: true, Connected: true, Unconfirmed: 3}
	s.Imports = snapshot.Imports{
		Expected: 208112, Done: 61155, AsOf: before(8 * time.Second), Lately: 4.9, Rate: 4.9, RateAt: now, Remaining: 146957 / 4.9,
		Failed: []snapshot.Count{{Name: "UNSUPPORTED_ERROR", Count: 3}, {Name: "MISSING_REFERENCE_ERROR", Count: 1}},
	}
	s.Problems = []snapshot.Problem{
		{At: before(2 * time.Minute), Says: "the queue is full; waiting for OpenCTI's workers"},
		{At: before(71 * time.Minute), Error: true, Says: "OpenCTI could not import an object", Dataset: "iocs", Item: "indicator--0b5a6c4e-30c2-4b1f-9c3e-2f3a86b1a7f0", Reason: "UNSUPPORTED_ERROR: the pattern cannot be parsed"},
	}
	return s
}

// backfilling is one of 300,000 indicators at 100 ms a page.
func backfilling() snapshot.Snapshot {
	s := known("running", "A backfill is under way: 123,000 of its items are read")
	s.Way = []snapshot.Station{
		place(snapshot.ThreatMatch, 1480, "items", "takes 100 ms for a page; nothing else slows it"), place(snapshot.Connector, 1502, "objects", "waits for items"),
		place(snapshot.QueueName, 1493, "messages", "187.0 MB of 500.0 MB"), place(snapshot.OpenCTI, 92, "messages", "imports more slowly than it is sent to"),
	}
	s.Way[3].Slowest = true
	s.Stages = stages(1480, 1502, 1493)
	s.Stages[0].Passed, s.Stages[1].Passed, s.Stages[2].Passed, s.Stages[3].Passed = 123000, 122900, 124400, 123604
	s.Stages[0].Bottleneck = true
	s.Run = &snapshot.Run{
		Purpose: "backfill", Began: before(83 * time.Second), Sent: 124110, WaitsFor: "ThreatMatch's answers", Remaining: 120,
		Datasets: []snapshot.Dataset{{Name: "iocs", Since: before(365 * 24 * time.Hour), Items: 123000, Until: before(215 * 24 * time.Hour), Share: 0.41, Remaining: 120}},
	}
	s.Queue = snapshot.Queue{Bytes: 187_000_000, Threshold: 500e6, Connected: true, Unconfirmed: 640}
	s.Imports = snapshot.Imports{Expected: 123604, Done: 7610, AsOf: before(4 * time.Second), Lately: 92, Rate: 92, RateAt: now, Remaining: 115994. / 92}
	s.NextRun = now.Add(2 * time.Hour)
	return s
}

func brokerAway() snapshot.Snapshot {
	s := running()
	s.Says = "An import is under way, and waits for RabbitMQ, which cannot be reached"
	s.Way = []snapshot.Station{
		place(snapshot.ThreatMatch, 0, "items", "is not asked until RabbitMQ is back"), place(snapshot.Connector, 0, "objects", "waits for the queue"),
		place(snapshot.QueueName, 0, "messages", "RabbitMQ cannot be reached: connection refused at rabbitmq:5672"), place(snapshot.OpenCTI, 88, "messages", "imports what is left in the queue"),
	}
	s.Way[2].Trouble = true
	s.Stages = stages(0, 0, 0)
	s.Stages[3].Room.Share, s.Stages[3].Bottleneck = 1, true
	s.Run.WaitsFor, s.Run.Remaining, s.Run.Datasets[1].Remaining = "RabbitMQ, which cannot be reached", 0, 0
	s.Queue.Connected = false
	s.Problems = append([]snapshot.Problem{{At: before(50 * time.Second), Error: true, Says: "RabbitMQ cannot be reached; the connector tries again", Reason: "dial tcp 10.0.3.7:5672: connect: connection refused"}}, s.Problems...)
	return s
}

func throttled() snapshot.Snapshot {
	s := running()
	s.Says = "An import is under way; ThreatMatch asks for pauses"
	s.Way[0].Rate, s.Way[0].Says = 0.4, "asks for pauses (429): 212 in the last minute"
	s.FailedRequests = []snapshot.Count{{Name: "answered 429, too many requests", Count: 12155}}
	s.Run.WaitsFor, s.Run.Remaining, s.Run.Datasets[1].Remaining = "ThreatMatch's answers", 9227, 9227
	return s
}

func afterFailure() snapshot.Snapshot {
	s := known("idle", "The last run failed; the next begins in 2 min")
	s.NextRun = now.Add(2*time.Minute + 10*time.Second)
	s.Ready = snapshot.Verdict{Reason: "ThreatMatch refuses the credentials: check THREATMATCH_CLIENT_ID and THREATMATCH_CLIENT_SECRET"}
	s.Way[0].Trouble, s.Way[0].Says = true, "refuses the credentials"
	failed := snapshot.Run{
		Purpose: "import", Began: before(2 * time.Minute), Ended: before(110 * time.Second), Failed: true, Outcome: "failed: ThreatMatch refuses the credentials (401)", NotFetched: 3,
	}
	s.History = append([]snapshot.Run{failed}, s.History...)
	s.Problems = []snapshot.Problem{
		{At: before(110 * time.Second), Error: true, Says: "the run failed", Reason: "get a token from https://eu.threatmatch.com: 401 Unauthorized; check THREATMATCH_CLIENT_ID and THREATMATCH_CLIENT_SECRET"},
		{At: before(112 * time.Second), Error: true, Says: "ThreatMatch refuses the credentials", Dataset: "profiles"},
		{At: before(26 * time.Hour), Says: "CONNECTOR_STATE_DIR was not found; the index of delivered objects starts anew"},
	}
	return s
}

func stopped() snapshot.Snapshot {
	s := known("stopped", "The connector is stopping")
	s.Ready = snapshot.Verdict{Reason: "the connector is stopping"}
	return s
}

// hostile is what a log line or an item can hold.
const hostile = "</p></li><script>alert(1)</script><img src=x onerror=alert(2)>\r\n\revent: x\n\ndata: \"'`&{{.}}<!--"

// attacked holds it wherever a text comes from elsewhere.
func attacked() snapshot.Snapshot {
	s := buffering()
	s.Name, s.ConnectorID, s.Version, s.Says, s.Activity = hostile, hostile, hostile, hostile, hostile
	s.Live, s.Ready = snapshot.Verdict{Reason: hostile}, snapshot.Verdict{Reason: hostile}
	for i := range s.Way {
		s.Way[i].Says, s.Way[i].Unit = hostile, hostile
	}
	s.Way[0].Name = hostile
	for i := range s.Stages {
		s.Stages[i].Name, s.Stages[i].Unit = hostile, hostile
	}
	s.Stages[1].Room.Unit = hostile
	s.Run.Purpose, s.Run.WaitsFor = hostile, hostile
	s.Run.Datasets[0].Name, s.Run.Datasets[0].Failure = hostile, hostile
	s.Imports.Unknown, s.Imports.Failed, s.FailedRequests = hostile, []snapshot.Count{{Name: hostile, Count: 1}}, []snapshot.Count{{Name: hostile, Count: 1}}
	s.Problems = []snapshot.Problem{{At: now, Error: true, Says: hostile, Dataset: hostile, Item: hostile, Reason: hostile}}
	s.History = []snapshot.Run{{Purpose: hostile, Began: before(time.Hour), Ended: now, Outcome: hostile, Failed: true}}
	return s
}
