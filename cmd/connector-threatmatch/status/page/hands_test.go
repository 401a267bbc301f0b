package page

import (
	"slices"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
)

// As the connector tells why it is not ready.
const (
	wrongBroker = "RabbitMQ refuses the credentials: check the user, password and virtual host that OpenCTI tells connectors, or MQ_USER, MQ_PASS and MQ_VHOST"
	wrongToken  = "OpenCTI refuses the credentials: check OPENCTI_TOKEN and the rights of its user"
)

func TestEachCauseIsOneThing(t *testing.T) {
	failed := func(says string) snapshot.Problem {
		return snapshot.Problem{At: before(time.Minute), Error: true, Says: says}
	}
	for name, test := range map[string]struct {
		of     func() snapshot.Snapshot
		change func(*snapshot.Snapshot)
		want   []string
	}{
		"a wrong secret":             {afterFailure, func(*snapshot.Snapshot) {}, []string{wrongSecret + "."}},
		"a broker that is away":      {brokerAway, func(*snapshot.Snapshot) {}, []string{brokerIsAway + "."}},
		"a broker that is not asked": {brokerAway, func(s *snapshot.Snapshot) { s.Ready = snapshot.Verdict{OK: true} }, []string{"RabbitMQ cannot be reached."}},
		"a broker that refuses": {running, func(s *snapshot.Snapshot) {
			s.Ready = snapshot.Verdict{Reason: wrongBroker}
			s.Way[2].Says, s.Way[2].Trouble = "RabbitMQ refuses the credentials", true
		}, []string{wrongBroker + "."}},
		"a broker that refuses, and OpenCTI": {running, func(s *snapshot.Snapshot) {
			s.Ready = snapshot.Verdict{Reason: wrongBroker}
			s.Way[2].Says, s.Way[2].Trouble = "RabbitMQ refuses the credentials", true
			s.Way[3].Says, s.Way[3].Trouble = "does not say what it has imported", true
		}, []string{wrongBroker + ".", "OpenCTI: does not say what it has imported."}},
		"two that refuse": {running, func(s *snapshot.Snapshot) {
			s.Ready = snapshot.Verdict{Reason: wrongToken + "; " + wrongBroker}
			s.Way[2].Trouble, s.Way[3].Trouble = true, true
		}, []string{wrongToken + ".", wrongBroker + "."}},
		"a heartbeat that is stuck": {running, func(s *snapshot.Snapshot) {
			s.Live = snapshot.Verdict{Reason: "the heartbeat has not run for 3m0s"}
			s.Way[1].Says, s.Way[1].Trouble = s.Live.Reason, true
		}, []string{"Start the connector anew: the heartbeat has not run for 3m0s."}},
		"a token that is refused at the start": {starting, func(s *snapshot.Snapshot) {
			s.Ready = snapshot.Verdict{Reason: wrongToken}
			s.Way[3].Says = "refuses the token"
			s.Problems = []snapshot.Problem{failed("cannot register: give the user of OPENCTI_TOKEN the rights of a connector; trying again")}
		}, []string{wrongToken + "."}},
		"what cannot be fetched with a wrong secret": {running, func(s *snapshot.Snapshot) {
			s.Ready, s.Way[0].Trouble = snapshot.Verdict{Reason: wrongSecret}, true
			s.Run.Datasets[0].Failure, s.Run.Datasets[1].Failure = "401 Unauthorized", "401 Unauthorized"
		}, []string{wrongSecret + "."}},
		"datasets that fail alike": {running, func(s *snapshot.Snapshot) {
			s.Run.Datasets[0].Failure, s.Run.Datasets[1].Failure = "403 Forbidden", "403 Forbidden"
		}, []string{"Profiles, alerts failed: 403 Forbidden."}},
		"an error of no station": {running, func(s *snapshot.Snapshot) {
			s.Problems = append(s.Problems, failed("the index of delivered objects starts anew"))
		}, []string{"1 error in the log since the run began: see the last problems."}},
		"an error that is over": {running, func(s *snapshot.Snapshot) {
			p := failed("RabbitMQ is short of memory")
			p.Over = true
			s.Problems = append(s.Problems, p)
		}, nil},
		"an error before the run": {running, func(s *snapshot.Snapshot) {
			p := failed("the run failed")
			p.At = before(time.Hour)
			s.Problems = append(s.Problems, p)
		}, nil},
		"an error of another than it is": {brokerAway, func(s *snapshot.Snapshot) {
			s.Problems = append(s.Problems, failed("OpenCTI could not import objects"))
		}, []string{brokerIsAway + ".", "1 error in the log since the run began: see the last problems."}},
		"a run that failed, and its line": {atRest, func(s *snapshot.Snapshot) {
			s.History[0].Failed, s.History[0].Outcome = true, "incomplete: 2 items could not be fetched"
			s.Problems = []snapshot.Problem{failed("the run failed; the next one goes on from where it got")}
		}, []string{"The last run was incomplete: 2 items could not be fetched."}},
	} {
		s := test.of()
		test.change(&s)
		if got := needsAHand(s).Notes; !slices.Equal(got, test.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestAProblemThatIsOverIsShownAsOver(t *testing.T) {
	s := running()
	s.Problems = []snapshot.Problem{{At: before(time.Minute), Error: true, Says: "RabbitMQ is short of memory"}}
	wants(t, s, nil, "error over")
	s.Problems[0].Over = true
	wants(t, s, []string{"error over"})
}
