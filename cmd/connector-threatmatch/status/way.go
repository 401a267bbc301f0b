package status

import (
	"slices"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
)

// way draws the four stations that intelligence passes, from what the snapshot has so far.
func way(shot snapshot.Snapshot, g glance, limit Limit) []snapshot.Station {
	stations := []snapshot.Station{fromThreatMatch(shot, g, limit), throughConnector(shot, g), intoQueue(shot, g), intoOpenCTI(shot, g)}
	for i := range stations {
		stations[i].Slowest = stations[i].Name == slowest(shot, g.lately.Confirmed, limit)
	}
	return stations
}

// outrun is how many times as much as OpenCTI imports is sent where it falls behind, and does not just lag.
const outrun = 1.2

// slowest is the station that decides when everything is imported, "" where nothing moves. What holds the run up does so for the
// run alone: OpenCTI may still take longer for what is sent, or fall behind so many messages a second.
func slowest(shot snapshot.Snapshot, sent float64, limit Limit) string {
	behind := shot.Imports.Left() > 0
	switch {
	case limit.Trouble:
		return "" // nothing moves
	case shot.Run == nil && behind && shot.Imports.Unknown == "":
		return snapshot.OpenCTI
	case shot.Run == nil:
		return ""
	case behind && shot.Imports.Lately > 0 && sent > outrun*shot.Imports.Lately:
		return snapshot.OpenCTI
	case behind && shot.Imports.Remaining > shot.Run.Remaining && shot.Run.Remaining > 0:
		return snapshot.OpenCTI
	}
	return limit.Station
}

func fromThreatMatch(shot snapshot.Snapshot, g glance, limit Limit) snapshot.Station {
	s := snapshot.Station{Name: snapshot.ThreatMatch, Rate: g.lately.Fetched, Unit: "items", Says: "nothing is asked for"}
	switch {
	case slices.Contains(g.refused, string(ThreatMatch)):
		s.Says, s.Trouble = "refuses the credentials", true
	case shot.Run != nil && limit.Station == snapshot.ThreatMatch:
		s.Says, s.Trouble = "the run waits for "+limit.Says, limit.Trouble
	case shot.Run != nil && shot.Activity == stopping:
		s.Says = "is asked for nothing more"
	case shot.Run != nil && fetched(*shot.Run):
		s.Says = "all is fetched"
	case shot.Run != nil:
		s.Says = "answers"
	}
	return s
}

// fetched reports that no dataset has anything left.
func fetched(run snapshot.Run) bool {
	return !slices.ContainsFunc(run.Datasets, func(d snapshot.Dataset) bool { return !d.Done && d.Failure == "" })
}

func throughConnector(shot snapshot.Snapshot, g glance) snapshot.Station {
	s := snapshot.Station{Name: snapshot.Connector, Rate: g.lately.Emitted, Unit: "items"}
	switch {
	case !shot.Live.OK:
		s.Says, s.Trouble = shot.Live.Reason, true
	case shot.Run != nil:
		s.Says = words.Counted(shot.Run.Sent, "object") + " sent"
	case isDue(shot):
		s.Says = "a run is due"
	case g.activity == idle && !shot.NextRun.IsZero():
		s.Says = "at rest; the next run begins in " + words.Duration(shot.NextRun.Sub(shot.At))
	case g.activity == idle:
		s.Says = "at rest"
	default:
		s.Says = string(g.activity)
	}
	return s
}

func intoQueue(shot snapshot.Snapshot, g glance) snapshot.Station {
	q := shot.Queue
	s := snapshot.Station{Name: snapshot.QueueName, Rate: g.lately.Confirmed, Unit: "messages", Says: words.Bytes(q.Bytes)}
	if q.Threshold > 0 {
		s.Says += " of " + words.Bytes(q.Threshold)
	}
	switch {
	case slices.Contains(g.refused, string(RabbitMQ)):
		s.Says, s.Trouble = "RabbitMQ refuses the credentials", true
	case q.Blocked:
		s.Says, s.Trouble = "RabbitMQ is short of memory or disk and takes nothing", true
	case shot.Run != nil && !q.Connected && g.broker.Attempts > g.broker.Sessions:
		s.Says, s.Trouble = g.taker+" cannot be reached", true
	case q.Buffering:
		s.Says += ": the run waits for it to drain"
	}
	return s
}

func intoOpenCTI(shot snapshot.Snapshot, g glance) snapshot.Station {
	i := shot.Imports
	s := snapshot.Station{Name: snapshot.OpenCTI, Rate: i.Lately, Unit: "messages", Says: "has nothing to import"}
	switch {
	case i.Expected > 0:
		s.Says = "has imported " + i.String()
	case i.Open > 0 || shot.Run != nil && shot.Run.Sent > 0:
		s.Says = "was not asked yet what it has imported"
	}
	switch {
	case slices.Contains(g.refused, string(OpenCTI)):
		s.Says, s.Trouble = "refuses the token", true
	case g.activity == starting:
		s.Says, s.Trouble = "was not reached yet: check that it runs, and OPENCTI_URL", true
	case g.away:
		s.Says, s.Trouble = "does not answer: check that it runs, and OPENCTI_URL", true
	case i.Unknown != "":
		s.Says, s.Trouble = "does not say what it has imported", true
	}
	return s
}

func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }

// says is the whole in one sentence, or two.
func says(shot snapshot.Snapshot) string {
	text := "Stopping."
	switch activity(shot.Activity) {
	case stopping:
		text = "Stopping: the run settles what is under way."
	case starting:
		text = "Starting: OpenCTI has not taken the connector in yet."
	case running:
		text = "A run begins."
		if shot.Run != nil {
			text = saysOf(*shot.Run)
		}
	case idle:
		text = "At rest."
		switch {
		case isDue(shot):
			text = "The next run is due."
		case !shot.NextRun.IsZero():
			text = "At rest until " + shot.NextRun.UTC().Format("2006-01-02 15:04 UTC") + "."
		}
		if len(shot.History) > 0 && shot.History[0].Failed {
			text = "The last run failed. " + text
		}
	}
	if !shot.Ready.OK && activity(shot.Activity) != starting {
		text = shot.Ready.Reason + ". " + text
	}
	if shot.Imports.Left() > 0 && shot.Imports.Unknown != "" {
		text += " As of " + shot.Imports.AsOf.UTC().Format("15:04 UTC") + ", OpenCTI had imported " + shot.Imports.String() + "."
	} else if shot.Imports.Left() > 0 {
		text += " OpenCTI has imported " + shot.Imports.String() + "."
	}
	return text
}

// isDue reports that a run should have begun: it waits, as for OpenCTI, which is asked for the works of earlier runs first.
func isDue(shot snapshot.Snapshot) bool {
	return shot.Run == nil && shot.Activity == string(idle) && !shot.NextRun.IsZero() && !shot.At.Before(shot.NextRun)
}

// saysOf says of a run what it waits for and how long it takes.
func saysOf(run snapshot.Run) string {
	text := "Importing"
	if run.Purpose == snapshot.Backfill {
		text = "A backfill is under way"
	}
	if run.Remaining > 0 {
		text += ", about " + words.Duration(seconds(run.Remaining)) + " left"
	}
	if run.WaitsFor != "" {
		text += "; it waits for " + run.WaitsFor
	}
	return text + "."
}
