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
		"broker-away": brokerAway(), "throttled": throttled(), "after-failure": afterFailure(), "stopping": stoppingRun(), "stopped": stopped(),
		"opencti-unknown": unknown(),
	}
}

// way draws the four stations at these rates; OpenCTI's is what its imports tell.
func way(s snapshot.Snapshot, says [3]string, rates [3]float64) []snapshot.Station {
	imports := "has nothing to import"
	if s.Imports.Expected > 0 {
		imports = "has imported " + s.Imports.String()
	}
	return []snapshot.Station{
		{Name: snapshot.ThreatMatch, Rate: rates[0], Unit: "items", Says: says[0]}, {Name: snapshot.Connector, Rate: rates[1], Unit: "items", Says: says[1]},
		{Name: snapshot.QueueName, Rate: rates[2], Unit: "messages", Says: says[2]}, {Name: snapshot.OpenCTI, Rate: s.Imports.Lately, Unit: "messages", Says: imports},
	}
}

func known(activity, says string) snapshot.Snapshot {
	s := snapshot.Snapshot{
		At: now, Name: "ThreatMatch", ConnectorID: "5f1c2c1e-6a0e-4a43-9d0d-6c2a3b1f7e55", Version: "1.4.0", Started: before(26*time.Hour + 12*time.Minute),
		Activity: activity, Live: snapshot.Verdict{OK: true}, Ready: snapshot.Verdict{OK: true}, Says: says,
		Queue: snapshot.Queue{Threshold: 500e6}, Imports: snapshot.Imports{AsOf: before(21 * time.Second)}, History: history(),
	}
	s.Way = way(s, [3]string{"nothing is asked for", "at rest", "0 B of 500.0 MB"}, [3]float64{})
	return s
}

func history() []snapshot.Run {
	ended := func(purpose string, ago, took time.Duration, sent int64, outcome string) snapshot.Run {
		return snapshot.Run{Purpose: purpose, Began: before(ago), Ended: before(ago - took), Sent: sent, Outcome: outcome}
	}
	runs := []snapshot.Run{
		ended("import", 21*time.Hour, 125*time.Second, 8920, "complete"),
		ended("resend", 25*time.Hour, 3*time.Second, 14, "complete"),
		ended("import", 27*time.Hour, 12*time.Second, 310, "told to stop"),
		ended("import", 46*time.Hour, 41*time.Minute, 95311, "incomplete: 2 items could not be fetched"),
		ended("backfill", 9*24*time.Hour, 7*time.Hour+12*time.Minute, 612044, "to be continued"),
	}
	runs[0].Skipped, runs[0].LeftOut = 12, 3
	runs[2].Failed = true
	runs[3].Failed, runs[3].NotFetched, runs[3].Skipped = true, 2, 1204
	return runs
}

func starting() snapshot.Snapshot {
	s := known("starting", "Starting: OpenCTI has not taken the connector in yet.")
	s.Started, s.History, s.Imports, s.Queue = before(4*time.Second), nil, snapshot.Imports{}, snapshot.Queue{Threshold: 500e6}
	s.Ready = snapshot.Verdict{Reason: "not registered with OpenCTI yet"}
	s.Way = way(s, [3]string{"nothing is asked for", "starting", "0 B of 500.0 MB"}, [3]float64{})
	s.Way[3].Says, s.Way[3].Trouble = "was not reached yet", true
	return s
}

func atRest() snapshot.Snapshot {
	s := known("idle", "At rest until 2026-03-05 16:22 UTC.")
	s.NextRun = now.Add(3*time.Hour + 2*time.Minute)
	s.Way[1].Says = "at rest; the next run begins in 3h2m"
	s.Imports.Rate, s.Imports.RateAt = 61.4, before(20*time.Hour)
	return s
}

func running() snapshot.Snapshot {
	s := known("running", "Importing, about 6m10s left; it waits for THREATMATCH_RATE_LIMIT. OpenCTI has imported 89,204 of 90,120 messages, 202/s, about 4s left.")
	s.Imports = snapshot.Imports{Open: 1, Expected: 90120, Done: 89204, AsOf: before(3 * time.Second), Lately: 201.6, Rate: 204, RateAt: now, Remaining: 4.5}
	s.Way = way(s, [3]string{"the run waits for THREATMATCH_RATE_LIMIT", "90,098 objects sent", "3.1 MB of 500.0 MB"}, [3]float64{9.97, 9.9, 203})
	s.Way[0].Slowest = true
	s.Stages = stages(9.97, 203)
	s.Stages[0].Bottleneck = true
	s.Run = &snapshot.Run{
		Purpose: "import", Began: before(11*time.Minute + 5*time.Second), Sent: 90098, Skipped: 1207, LeftOut: 4, WaitsFor: "THREATMATCH_RATE_LIMIT", Remaining: 370,
		Datasets: []snapshot.Dataset{
			{Name: "profiles", Since: before(30 * 24 * time.Hour), Items: 1204, Share: 1, Done: true},
			{Name: "alerts", Since: before(24 * time.Hour), Items: 2466, Left: 3691, Share: 2466. / 6157, Remaining: 370},
			{Name: "iocs", Since: before(24 * time.Hour), Items: 81000, Until: before(2 * time.Hour), Share: 1, Done: true},
		},
	}
	s.Queue.Bytes, s.Queue.Connected, s.Queue.Unconfirmed = 3_100_000, true, 14
	s.FailedRequests = []snapshot.Count{{Name: "rate_limited", Count: 3}, {Name: "timeout", Count: 1}}
	s.Problems = []snapshot.Problem{{
		At: before(6 * time.Minute), Says: "left out what cannot be imported", Dataset: "alerts", Item: "20931", Reason: `object "x-tm-note--7d1b" is of the type x-tm-note`,
	}}
	return s
}

func stages(items, messages float64) []snapshot.Stage {
	return []snapshot.Stage{
		{Name: "fetch", Passed: 84670, Rate: items, Unit: "items"},
		{Name: "transform", Passed: 84666, Rate: items, Unit: "items", Room: &snapshot.Room{Used: 2, Bound: 64, Share: 0.03, Unit: "items"}},
		{Name: "emit", Passed: 84660, Rate: items, Unit: "items", Room: &snapshot.Room{Used: 1, Bound: 64, Share: 0.02, Unit: "items"}},
		{Name: "publish", Passed: 90120, Rate: messages, Unit: "messages", Room: &snapshot.Room{Used: 212_000, Bound: 16 << 20, Share: 0.015, Unit: "bytes"}},
	}
}

// buffering is a platform that imports five messages a second.
func buffering() snapshot.Snapshot {
	s := known("running", "Importing; it waits for OpenCTI's workers: the queue is at CONNECTOR_QUEUE_THRESHOLD. OpenCTI has imported 61,155 of 208,112 messages, 4.9/s, about 8h19m left, failed: 3 UNSUPPORTED_ERROR, 1 MISSING_REFERENCE_ERROR.")
	s.Imports = snapshot.Imports{
		Open: 1, Expected: 208112, Done: 61155, AsOf: before(8 * time.Second), Lately: 4.9, Rate: 4.9, RateAt: now, Remaining: 146957 / 4.9,
		Failed: []snapshot.Count{{Name: "UNSUPPORTED_ERROR", Count: 3}, {Name: "MISSING_REFERENCE_ERROR", Count: 1}},
	}
	s.Way = way(s, [3]string{"answers", "208,104 objects sent", "512.4 MB of 500.0 MB: the run waits for it to drain"}, [3]float64{0, 4.8, 4.9})
	s.Way[3].Slowest = true
	s.Stages = stages(0, 4.9)
	s.Stages[0].Passed, s.Stages[1].Passed, s.Stages[2].Passed, s.Stages[3].Passed = 201000, 200800, 200736, 208112
	for i, share := range []float64{0, 1, 1, 0.96} {
		if r := s.Stages[i].Room; r != nil {
			r.Share, r.Used = share, int64(share*float64(r.Bound))
		}
	}
	s.Stages[3].Bottleneck = true
	s.Run = &snapshot.Run{
		Purpose: "import", Began: before(3*time.Hour + 20*time.Minute), Sent: 208104, WaitsFor: "OpenCTI's workers: the queue is at CONNECTOR_QUEUE_THRESHOLD",
		Datasets: []snapshot.Dataset{{Name: "iocs", Since: before(30 * 24 * time.Hour), Items: 201000, Until: before(9 * 24 * time.Hour), Share: 0.7, Remaining: 5142}},
	}
	s.Queue = snapshot.Queue{Bytes: 512_400_000, Threshold: 500e6, Buffering: true, Connected: true, Unconfirmed: 3}
	s.Problems = []snapshot.Problem{
		{At: before(71 * time.Minute), Error: true, Says: "OpenCTI does not take an object, so it lacks this version of it; the message says what it does not like. It is sent again once it has changed in ThreatMatch", Dataset: "iocs", Item: "indicator--0b5a6c4e-30c2-4b1f-9c3e-2f3a86b1a7f0", Reason: "UNSUPPORTED_ERROR: the pattern cannot be parsed"},
	}
	return s
}

// backfilling is one of 300,000 indicators at 100 ms a page.
func backfilling() snapshot.Snapshot {
	s := known("running", "A backfill is under way, about 2m0s left; it waits for ThreatMatch's answers. OpenCTI has imported 7,610 of 123,604 messages, 92/s, about 21m0s left.")
	s.Imports = snapshot.Imports{Open: 1, Expected: 123604, Done: 7610, AsOf: before(4 * time.Second), Lately: 92, Rate: 92, RateAt: now, Remaining: 115994. / 92}
	s.Way = way(s, [3]string{"the run waits for ThreatMatch's answers", "123,590 objects sent", "187.0 MB of 500.0 MB"}, [3]float64{1480, 1479, 1493})
	s.Way[3].Slowest = true
	s.Stages = stages(1480, 1493)
	s.Stages[0].Passed, s.Stages[1].Passed, s.Stages[2].Passed, s.Stages[3].Passed = 123000, 122900, 122890, 123604
	s.Stages[0].Bottleneck = true
	s.Run = &snapshot.Run{
		Purpose: "backfill", Began: before(83 * time.Second), Sent: 123590, WaitsFor: "ThreatMatch's answers", Remaining: 120,
		Datasets: []snapshot.Dataset{{Name: "iocs", Since: before(365 * 24 * time.Hour), Items: 123000, Until: before(215 * 24 * time.Hour), Share: 0.41, Remaining: 120}},
	}
	s.Queue = snapshot.Queue{Bytes: 187_000_000, Threshold: 500e6, Connected: true, Unconfirmed: 640}
	s.NextRun = now.Add(2 * time.Hour)
	return s
}

// brokerIsAway is why the connector is not ready then.
const brokerIsAway = "RabbitMQ cannot be reached, and a run waits for it; check that it runs, and MQ_HOST and MQ_PORT where they are set"

func brokerAway() snapshot.Snapshot {
	s := running()
	s.Says = brokerIsAway + ". Importing; it waits for RabbitMQ, which cannot be reached. OpenCTI has imported 89,204 of 90,120 messages, 88/s, about 10s left."
	s.Ready = snapshot.Verdict{Reason: brokerIsAway}
	s.Imports.Lately, s.Imports.Remaining = 88, 10.4
	s.Way = way(s, [3]string{"answers", "90,098 objects sent", "RabbitMQ cannot be reached"}, [3]float64{})
	s.Way[2].Trouble, s.Way[2].Slowest = true, true
	s.Stages = stages(0, 0)
	s.Stages[3].Room.Share, s.Stages[3].Bottleneck = 1, true
	s.Run.WaitsFor, s.Run.Remaining = "RabbitMQ, which cannot be reached", 0
	s.Queue.Connected = false
	s.Problems = append([]snapshot.Problem{{At: before(50 * time.Second), Error: true, Says: "RabbitMQ could not be used, though nothing had to be sent this time; check that it runs, and MQ_HOST, MQ_PORT, MQ_USER and MQ_PASS where they are set", Reason: "dial tcp 10.0.3.7:5672: connect: connection refused"}}, s.Problems...)
	return s
}

func throttled() snapshot.Snapshot {
	s := running()
	s.Says = "Importing, about 2h33m left; it waits for ThreatMatch's answers. OpenCTI has imported 89,204 of 90,120 messages, 202/s, about 4s left."
	s.Way[0].Rate, s.Way[0].Says = 0.4, "the run waits for ThreatMatch's answers"
	s.FailedRequests = []snapshot.Count{{Name: "rate_limited", Count: 12155}}
	s.Run.WaitsFor, s.Run.Remaining, s.Run.Datasets[1].Remaining = "ThreatMatch's answers", 9227, 9227
	return s
}

// wrongSecret is why the connector is not ready then.
const wrongSecret = "ThreatMatch refuses the credentials: check THREATMATCH_CLIENT_ID and THREATMATCH_CLIENT_SECRET"

func afterFailure() snapshot.Snapshot {
	s := known("idle", wrongSecret+". The last run failed. At rest until 2026-03-05 13:22 UTC.")
	s.NextRun = now.Add(2*time.Minute + 10*time.Second)
	s.Ready = snapshot.Verdict{Reason: wrongSecret}
	s.Way[0].Trouble, s.Way[0].Says = true, "refuses the credentials"
	s.Way[1].Says = "at rest; the next run begins in 2m10s"
	failed := snapshot.Run{
		Purpose: "import", Began: before(2 * time.Minute), Ended: before(110 * time.Second), Failed: true, Outcome: "incomplete: ThreatMatch refuses the credentials", NotFetched: 3,
	}
	s.History = append([]snapshot.Run{failed}, s.History...)
	s.Problems = []snapshot.Problem{
		{At: before(110 * time.Second), Error: true, Says: "the run failed; the next one goes on from where it got", Reason: "get a token from https://eu.threatmatch.com: 401 Unauthorized; check THREATMATCH_CLIENT_ID and THREATMATCH_CLIENT_SECRET"},
		{At: before(25 * time.Hour), Error: true, Over: true, Says: "RabbitMQ could not be used, though nothing had to be sent this time; check that it runs, and MQ_HOST, MQ_PORT, MQ_USER and MQ_PASS where they are set"},
		{At: before(26 * time.Hour), Says: "the history of runs begins anew"},
	}
	return s
}

// stoppingRun is one that was told to stop a moment ago.
func stoppingRun() snapshot.Snapshot {
	s := running()
	s.Activity, s.Says, s.NextRun = "stopping", "Stopping.", before(27*time.Second)
	s.Run.WaitsFor, s.Run.Remaining, s.Run.Datasets[1].Remaining = "RabbitMQ's confirms", 0, 0
	s.Way = way(s, [3]string{"answers", "90,098 objects sent", "3.1 MB of 500.0 MB"}, [3]float64{9.9, 9.9, 203})
	s.Way[2].Slowest, s.Stages[0].Bottleneck, s.Stages[3].Bottleneck = true, false, true
	return s
}

// unknown is an OpenCTI that could not be asked for twelve minutes.
func unknown() snapshot.Snapshot {
	s := running()
	s.Says = "Importing, about 6m10s left; it waits for THREATMATCH_RATE_LIMIT. OpenCTI has imported 61,200 of 90,120 messages."
	s.Imports = snapshot.Imports{
		Open: 2, Expected: 90120, Done: 61200, AsOf: before(12 * time.Minute), Rate: 204, RateAt: before(12 * time.Minute), Unknown: "ask OpenCTI for a work: 502 Bad Gateway",
	}
	s.Way[3].Rate, s.Way[3].Says, s.Way[3].Trouble = 0, "does not say what it has imported", true
	return s
}

func stopped() snapshot.Snapshot { return known("stopped", "Stopping.") }

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
	s.Queue.Buffering = false
	s.Run.Purpose, s.Run.WaitsFor = hostile, hostile
	s.Run.Datasets[0].Name, s.Run.Datasets[0].Failure = hostile, hostile
	s.Imports.Unknown, s.Imports.Failed, s.FailedRequests = hostile, []snapshot.Count{{Name: hostile, Count: 1}}, []snapshot.Count{{Name: hostile, Count: 1}}
	s.Problems = []snapshot.Problem{{At: now, Error: true, Says: hostile, Dataset: hostile, Item: hostile, Reason: hostile}}
	s.History = []snapshot.Run{{Purpose: hostile, Began: before(time.Hour), Ended: now, Outcome: hostile, Failed: true}}
	return s
}
