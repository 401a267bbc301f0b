package threatmatch

import (
	"bytes"
	"errors"
	"net/http"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

const (
	// silentAfter is how long failures last that may pass before they are told of: as long as the attempts of one call, which may
	// be the fault of what it asks for.
	silentAfter = 14 * time.Second
	// muteAfter is how long a call may wait for an answer that comes in the end: a big list takes its time.
	muteAfter = 45 * time.Second
)

// Settings say how the API is reached.
var Settings = remote.SettingsOf("THREATMATCH_URL", "HTTPS_CA_CERTIFICATES")

func newSilence(cfg Config) *remote.Silence {
	turns := time.Duration(0)
	if cfg.RatePerSecond > 0 {
		const most = 3 // that a call may take of the rate: for itself, for its token, and for itself again
		turns = time.Duration(most * float64(time.Second) / cfg.RatePerSecond)
	}
	return &remote.Silence{
		Name: "ThreatMatch", Log: cfg.Alarms, After: silentAfter + turns, Mute: muteAfter + turns, Settings: Settings,
	}
}

// judge tells from an answer that is no success whether the API is there.
func (c *caller) judge(k *call, e *Error, body []byte) {
	switch {
	case remote.AsksForTLS(e.Status, string(body)):
		e.why = remote.Encrypted(Settings)
	case isForeign(k, e, body):
		if e.down = true; !k.general() {
			return // it may be about what was asked for: whether the API is there is found out by a call that is not
		}
		e.why = remote.Diagnosis{Kind: "foreign", Lasting: true, Problem: foreignProblem, Remedy: foreignRemedy}
	case e.Status == http.StatusBadGateway, e.Status == http.StatusServiceUnavailable, e.Status == http.StatusGatewayTimeout:
		e.why = remote.Diagnosis{Kind: "gateway", Problem: "what stands before it cannot reach it, or it is being mended"}
	case e.Status == http.StatusTooManyRequests:
		e.why = remote.Diagnosis{Kind: "busy", Slow: true, Problem: "it is asked too much", Remedy: "lower THREATMATCH_RATE_LIMIT"}
		c.silence.Failed(e, e.why)
		return
	default:
		c.heard(k)
		return
	}
	e.down = true
	c.silence.Failed(e, e.why)
}

const (
	foreignProblem = "what answers is not ThreatMatch's API"
	foreignRemedy  = "is THREATMATCH_URL ThreatMatch's base URL, such as " + defaultURL + "? If it is, a proxy or firewall answers in its place"
)

// isForeign reports whether something else than the API has answered: with a page for people, or where every API has a token to
// give with something else.
func isForeign(k *call, e *Error, body []byte) bool {
	page := bytes.HasPrefix(bytes.TrimLeft(body, "\xef\xbb\xbf"+blanks), []byte("<"))
	switch status := e.Status; {
	case status == http.StatusUnauthorized:
		return false
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed, status == http.StatusNotImplemented:
		return page || k.forToken
	case status < 300:
		var shape shapeError
		return page || k.forToken && errors.As(e, &shape)
	case status < 500:
		return page
	}
	return false
}

// heard notes an answer. One to the question for a token says nothing of those to all others.
func (c *caller) heard(k *call) {
	if !k.forToken {
		c.silence.Heard()
	}
}
