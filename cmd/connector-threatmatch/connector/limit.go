package connector

import (
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
)

// What a run waits for that uses up its rate of calls, and one that has filled the queue.
const (
	rateLimit = "THREATMATCH_RATE_LIMIT"
	fullQueue = "OpenCTI's workers: the queue is at CONNECTOR_QUEUE_THRESHOLD"
)

// fullFor is how long a queue that was full counts as such: it is filled again as soon as there is room.
const fullFor = time.Minute

// waitsFor tells what holds the run up most, going by the requests a second to ThreatMatch of late; mu is held.
func (s *story) waitsFor(requests float64) status.Limit {
	const (
		nearly = 0.9 // of a limit
		mostly = 0.5 // of a channel, a window or the time
	)
	fetching := false
	for _, c := range s.datasets {
		fetching = fetching || !c.done
	}
	if limit, held := s.heldUpByTrouble(fetching); held {
		return limit
	}
	lately := s.stages()
	switch {
	case s.cutOff() && (lately.ToEmit > mostly || !fetching):
		return status.Limit{Station: snapshot.QueueName, Stage: snapshot.Publish, Says: s.by + ", which cannot be reached", Trouble: true}
	case lately.Asking > mostly:
		return status.Limit{Station: snapshot.OpenCTI, Stage: snapshot.Emit, Says: "OpenCTI's answers"}
	case lately.Window > mostly, !fetching && lately.ToEmit == 0:
		return status.Limit{Station: snapshot.QueueName, Stage: snapshot.Publish, Says: s.by + "'s confirms"}
	case lately.ToEmit > mostly, !fetching:
		return status.Limit{Station: snapshot.Connector, Stage: snapshot.Emit, Says: "the connector's own work: putting objects in order"}
	case lately.ToTransform > mostly:
		return status.Limit{Station: snapshot.Connector, Stage: snapshot.Transform, Says: "the connector's own work: making STIX"}
	case s.rate > 0 && requests >= nearly*s.rate:
		return status.Limit{Station: snapshot.ThreatMatch, Stage: snapshot.Fetch, Says: rateLimit}
	}
	return status.Limit{Station: snapshot.ThreatMatch, Stage: snapshot.Fetch, Says: "ThreatMatch's answers"}
}

// heldUpByTrouble tells of a remote that is away or asks to wait.
func (s *story) heldUpByTrouble(fetching bool) (status.Limit, bool) {
	broker := s.broker()
	if s.told().Buffering {
		s.filled = time.Now()
	}
	switch {
	case s.kept() != "":
		return status.Limit{Station: snapshot.Connector, Stage: snapshot.Publish, Says: s.kept() + ", which takes no files", Trouble: true}, true
	case broker.Blocked:
		return status.Limit{Station: snapshot.QueueName, Stage: snapshot.Publish, Says: s.by + ", which is short of memory or disk", Trouble: true}, true
	case broker.Refused && !broker.Connected:
		return status.Limit{Station: snapshot.QueueName, Stage: snapshot.Publish, Says: s.by + ", which refuses the credentials", Trouble: true}, true
	case !broker.Connected && broker.Unconfirmed > 0:
		return status.Limit{Station: snapshot.QueueName, Stage: snapshot.Publish, Says: s.by + ", which cannot be reached", Trouble: true}, true
	case time.Since(s.filled) < fullFor:
		return status.Limit{Station: snapshot.OpenCTI, Stage: snapshot.Publish, Says: fullQueue}, true
	case fetching && s.silent():
		return status.Limit{Station: snapshot.ThreatMatch, Stage: snapshot.Fetch, Says: "ThreatMatch, which does not answer", Trouble: true}, true
	}
	return status.Limit{}, false
}

// cutOff reports that the broker was tried in vain. A run that has nothing to send does not try.
func (s *story) cutOff() bool {
	broker := s.broker()
	return !broker.Connected && broker.Attempts > broker.Sessions
}
