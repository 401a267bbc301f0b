package threatmatch

import (
	"bytes"
	"errors"
	"net/http"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// judge tells from an answer that is no success whether the API is there.
func (c *caller) judge(k *call, e *Error, body []byte) {
	switch {
	case remote.AsksForTLS(e.Status, string(body)):
		e.why = remote.Encrypted(Settings)
	case e.Status == http.StatusProxyAuthRequired:
		e.why = remote.ProxyUser(Settings)
	case isForeign(k, e, body):
		if e.down, e.elsewhere = true, true; !k.forToken {
			return // it may be about what was asked for: [caller.probe] finds out
		}
		e.why = foreign(e.Status)
	case isGateway(e.Status):
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

// isGateway lists the statuses with which what stands before a server says that it is away: those of HTTP, and Cloudflare's own
// from 520 "web server returns an unknown error" to 530 "origin DNS error".
func isGateway(status int) bool {
	const cloudflareFirst, cloudflareLast = 520, 530
	switch status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return cloudflareFirst <= status && status <= cloudflareLast
}

// isForeign reports whether something else than the API has answered: with a page for people, or where every API has a token to
// give with something else.
func isForeign(k *call, e *Error, body []byte) bool {
	page := bytes.HasPrefix(bytes.TrimLeft(body, "\xef\xbb\xbf"+blanks), []byte("<"))
	switch status := e.Status; {
	case status == http.StatusNetworkAuthenticationRequired:
		return true
	case status == http.StatusUnauthorized, temporaryStatus(status):
		return false
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed, status == http.StatusNotImplemented:
		return page || k.forToken
	case status < 300:
		var shape shapeError
		return page || k.forToken && errors.As(e, &shape)
	}
	return page
}

// foreign is the diagnosis where the question for a token finds something else.
func foreign(status int) remote.Diagnosis {
	d := remote.Diagnosis{
		Kind: "foreign", Lasting: true, Problem: "what answers is not ThreatMatch's API",
		Remedy: "is THREATMATCH_URL ThreatMatch's base URL, such as " + defaultURL + "? If it is, a proxy or firewall answers in its place",
	}
	if status == http.StatusBadRequest || status == http.StatusForbidden {
		d.Remedy += ", or it refuses the client: check THREATMATCH_CLIENT_ID and THREATMATCH_CLIENT_SECRET"
	}
	return d
}

// diagnose says why there was no answer, or no whole one.
func diagnose(err error) remote.Diagnosis {
	if errors.Is(err, errNoAnswer) || errors.Is(err, errStalled) {
		return remote.Mute(Settings)
	}
	return remote.Diagnose(err, Settings)
}
