package opencti

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

const (
	// silentAfter is how long failures last that may pass before they are told of: with the pauses of those who wait for the
	// platform that is within fifteen seconds.
	silentAfter = 8 * time.Second
	// muteAfter is how long a call may wait for an answer that comes in the end: a platform under load takes its time.
	muteAfter = 45 * time.Second
)

// Settings say how the platform is reached.
var Settings = remote.SettingsOf("OPENCTI_URL", "HTTPS_CA_CERTIFICATES, or in a file whose path OPENCTI_SSL_VERIFY names")

func newSilence(log *zap.Logger) *remote.Silence {
	if log == nil {
		log = zap.NewNop()
	}
	return &remote.Silence{Name: "OpenCTI", Log: log, After: silentAfter, Mute: muteAfter, Settings: Settings}
}

// Silent reports that the platform does not answer, or not as one, and has not for a while.
func (c *Client) Silent() bool { return c.silence.Told() }

// noAnswer notes that an attempt was not answered.
func (c *Client) noAnswer(err error) {
	why := remote.Diagnose(err, Settings)
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	c.silence.Failed(errors.New(tidy(c.secrets, err.Error())), why)
}

// listen tells from what became of a call whether the platform is there for the connector.
func (c *Client) listen(ctx context.Context, e *Error) {
	switch {
	case e == nil:
		c.silence.Heard()
	case ctx.Err() != nil:
	default:
		if why, away := e.diagnosis(); away {
			c.silence.Failed(e, why)
		} else {
			c.silence.Heard() // it is about what was asked; who cannot do without says so
		}
	}
}

// Diagnose says what a failed call means to an operator, the zero value where nothing is known or it is about what was asked.
func Diagnose(err error) remote.Diagnosis {
	var e *Error
	if !errors.As(err, &e) {
		return remote.Diagnosis{}
	}
	why, _ := e.diagnosis()
	return why
}

// diagnosis tells why a call failed, and whether the platform is not there for the connector.
func (e *Error) diagnosis() (why remote.Diagnosis, away bool) {
	switch {
	case remote.AsksForTLS(e.Status, e.Message):
		return remote.Encrypted(Settings), true
	case e.foreign, e.misfit && e.Operation == "about": // which every release answers
		return remote.Diagnosis{Kind: "foreign", Lasting: true, Problem: "what answers is not OpenCTI", Remedy: notThere}, true
	case e.cause != nil, e.Temporary:
		return e.why, true
	case IsForbidden(e): // of one thing among others
		return remote.Diagnosis{}, false
	case IsUnauthorized(e) && e.Name == "": // OpenCTI itself gives its refusals a name
		return remote.Diagnosis{Kind: "token", Lasting: true, Problem: "it, or a gateway before it, refuses",
			Remedy: "check OPENCTI_TOKEN, and whether a gateway wants headers (OPENCTI_CUSTOM_HEADERS)"}, true
	case IsUnauthorized(e):
		return remote.Diagnosis{Kind: "token", Lasting: true, Problem: "it does not know the token", Remedy: "check OPENCTI_TOKEN, and that its user may log in"}, true
	case e.Status == http.StatusProxyAuthRequired:
		return remote.ProxyUser(Settings), true
	case e.Status >= http.StatusInternalServerError, e.says("INTERNAL_SERVER_ERROR"):
		return remote.Diagnosis{Kind: "ill", Problem: "it answers with errors of its own", Remedy: "look at its log"}, true
	}
	return remote.Diagnosis{}, false
}
