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

// settings say how the platform is reached.
var settings = remote.Settings{
	Address:   "OPENCTI_URL",
	Authority: "HTTPS_CA_CERTIFICATES, or in a file whose path OPENCTI_SSL_VERIFY names",
	Encrypted: "whether OPENCTI_URL is to begin with https:// or http://",
}

func newSilence(log *zap.Logger) *remote.Silence {
	if log == nil {
		log = zap.NewNop()
	}
	return &remote.Silence{Name: "OpenCTI", Log: log, After: silentAfter, Mute: muteAfter}
}

// Silent reports that the platform does not answer, or not as one, and has not for a while.
func (c *Client) Silent() bool { return c.silence.Told() }

// noAnswer notes that an attempt was not answered.
func (c *Client) noAnswer(err error) {
	why := remote.Diagnose(err, settings)
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
	case e.foreign, e.misfit && e.Operation == "about": // which every release answers
		c.silence.Failed(e, remote.Diagnosis{Kind: "foreign", Lasting: true, Remedy: notThere})
	case e.cause != nil, e.Temporary:
		c.silence.Failed(e, e.why)
	case IsForbidden(e): // of one thing among others; who cannot do without it says so
		c.silence.Heard()
	case IsUnauthorized(e):
		c.silence.Failed(e, remote.Diagnosis{Kind: "token", Lasting: true, Remedy: "check OPENCTI_TOKEN, and that its user may log in"})
	case e.Status == http.StatusProxyAuthRequired:
		c.silence.Failed(e, remote.Diagnosis{Kind: "proxy", Lasting: true, Remedy: "the proxy wants other credentials; check HTTP_PROXY and HTTPS_PROXY"})
	case e.Status >= http.StatusInternalServerError, e.says("INTERNAL_SERVER_ERROR"):
		c.silence.Failed(e, remote.Diagnosis{Kind: "ill", Remedy: "it answers with errors of its own; look at its log"})
	default: // of what was asked; who cannot do without says so
		c.silence.Heard()
	}
}
