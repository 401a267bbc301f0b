package status

import (
	"strings"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
)

// Remote is a system that the connector has credentials for.
type Remote string

// The systems that the connector talks to.
const (
	ThreatMatch Remote = "threatmatch"
	OpenCTI     Remote = "opencti"
	RabbitMQ    Remote = "rabbitmq"
)

// refusals say of each what an operator can do when it refuses the credentials.
var refusals = []struct {
	remote Remote
	says   string
}{
	{OpenCTI, "OpenCTI refuses the credentials: check OPENCTI_TOKEN and the rights of its user"},
	{RabbitMQ, "RabbitMQ refuses the credentials: check the user, password and virtual host that OpenCTI tells connectors, or MQ_USER, MQ_PASS and MQ_VHOST"},
	{ThreatMatch, "ThreatMatch refuses the credentials: check THREATMATCH_CLIENT_ID and THREATMATCH_CLIENT_SECRET"},
}

// Credentials says whether a system has refused the connector's credentials just now, or has answered with them. Starting the
// connector anew would not mend them, so they are no matter of its health, but nothing gets on without them.
func (s *Status) Credentials(of Remote, refused bool) { s.change(func() { s.refused[of] = refused }) }

// TokenTried takes note of what a call of the platform that the connector cannot do without says of its token. A failure
// for another reason says nothing of it.
func (s *Status) TokenTried(err error) {
	if err == nil || opencti.IsUnauthorized(err) {
		s.Credentials(OpenCTI, err != nil)
	}
}

// refuses reports whether a system refuses the credentials.
func (s *Status) refuses(of Remote) bool {
	if of == RabbitMQ {
		total, _ := s.figures()
		return total.broker.Refused
	}
	return read(s, func() bool { return s.refused[of] })
}

// unready says why the connector can bring nothing, "" when it can.
func (s *Status) unready() string {
	var reasons []string
	for _, r := range refusals {
		if s.refuses(r.remote) {
			reasons = append(reasons, r.says)
		}
	}
	if len(reasons) == 0 && read(s, func() bool { return s.diskFull }) {
		return "CONNECTOR_STATE_DIR has no room; make some, and the connector goes on by itself"
	}
	if len(reasons) == 0 && !s.platformKnowsIt() {
		return "not registered with OpenCTI yet"
	}
	if len(reasons) == 0 && read(s, func() bool { return s.failedPings > 1 }) {
		return "OpenCTI does not answer; check that it runs, and OPENCTI_URL"
	}
	if len(reasons) == 0 && s.isCutOff() {
		return s.about.queue.cutOff
	}
	if len(reasons) == 0 && read(s, func() func() threatmatch.Figures { return s.api })().Silent {
		return "ThreatMatch does not answer; check THREATMATCH_URL, and what the log says of it"
	}
	if len(reasons) == 0 {
		return read(s, func() string { return s.unread })
	}
	return strings.Join(reasons, "; ")
}

// isCutOff reports that a run has tried to reach the broker and has no connection. Between runs there is none.
func (s *Status) isCutOff() bool {
	return read(s, func() bool {
		if s.publisher == nil {
			return false
		}
		broker := s.publisher.Stats()
		return !broker.Connected && broker.Attempts > broker.Sessions // else the first attempt is under way
	})
}
