package threatmatch

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// Config says how to reach the API. URL, ClientID and ClientSecret are required; every zero value of the others stands
// for its default.
type Config struct {
	// URL is the base of the API; a path in it is kept, user information in it is ignored.
	URL          string
	ClientID     string
	ClientSecret string
	// RatePerSecond bounds the requests that leave, 0 for no bound.
	RatePerSecond float64
	// Transport carries the requests; nil stands for [remote.NewTransport] with its defaults.
	Transport http.RoundTripper
	UserAgent string
	Now       func() time.Time
	Log       *zap.Logger
	// Alarms is told when the API does not answer; nil stands for Log.
	Alarms *zap.Logger

	// Attempts bounds how often one call is tried, the first time included.
	Attempts int
	// Backoff is the wait between two attempts when the server does not name one.
	Backoff remote.Backoff
	// Patience is how long the calls of a run wait for an API that answers nobody, see [Client.BeginRun].
	Patience time.Duration
	// RetryAfterMax is the longest wait that a server can ask for.
	RetryAfterMax time.Duration

	// HeadTimeout bounds the wait for the head of an answer, connecting included, whatever Transport does.
	HeadTimeout time.Duration
	// StallTimeout is the time in which a body must bring a little (see stallBytes), over and over.
	StallTimeout time.Duration
	// AttemptTimeout bounds one attempt as a whole.
	AttemptTimeout time.Duration
	// MaxBody bounds an answer, in bytes after decompression.
	MaxBody int64
}

// Defaults, each with its reason.
const (
	defaultURL            = "https://eu.threatmatch.com"
	defaultUserAgent      = "opencti-connector-threatmatch"
	defaultAttempts       = 5                // rides out a restart of the API, without holding an item for long
	defaultBackoffMin     = time.Second      // the first retry soon: most faults are a lost connection
	defaultBackoffMax     = 30 * time.Second // beyond, an item should fail and be tried by the next run
	defaultRetryAfterMax  = time.Minute      // who says "tomorrow" gets the item again in the next run
	defaultPatience       = 15 * time.Minute // a restart is over by then; who waits for an exit status does not want to wait longer
	defaultStallTimeout   = 30 * time.Second
	defaultAttemptTimeout = 5 * time.Minute // a full-size answer at 220 kB/s
	defaultMaxBody        = 64 << 20

	stallBytes   = 512         // fewer in one StallTimeout: a body that trickles to keep the connection busy
	outageProbes = time.Minute // at most between two questions whether the API answers again
	fewAttempts  = 3           // for answers that are well formed but say no: rarely a passing fault
	errorBody    = 64 << 10    // read of a body that is no answer: enough to redact safely before quoting
	beginning    = 4 << 10     // of a body, which tells whether it can be data
	smallBody    = 1 << 20     // of an answer that holds a token, or the groups
	longestID    = 512         // no source has longer ones, and they would end up in the state
	mostIDs      = 5_000_000   // of a list, which is kept for a whole pass and takes some 30 bytes for each
	listBody     = 80 << 20    // of an answer that holds a list: as many ids of 14 digits
	mostObjects  = 100_000     // of a page
	quotedBody   = 200         // shown of it
	sizeHintMax  = 1 << 20     // a Content-Length is only a claim: beyond, the buffer grows with what comes
	pooledBuffer = 4 << 20     // a larger one is left to the collector: one big list must not be kept for ever
)

func (c Config) withDefaults() Config {
	if c.URL == "" {
		c.URL = defaultURL
	}
	if c.UserAgent == "" {
		c.UserAgent = defaultUserAgent
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if c.Attempts <= 0 {
		c.Attempts = defaultAttempts
	}
	for _, d := range []struct {
		value *time.Duration
		or    time.Duration
	}{
		{&c.Backoff.Min, defaultBackoffMin},
		{&c.Backoff.Max, defaultBackoffMax},
		{&c.Patience, defaultPatience},
		{&c.RetryAfterMax, defaultRetryAfterMax},
		{&c.HeadTimeout, remote.HeadTimeout},
		{&c.StallTimeout, defaultStallTimeout},
		{&c.AttemptTimeout, defaultAttemptTimeout},
	} {
		if *d.value <= 0 {
			*d.value = d.or
		}
	}
	if c.MaxBody <= 0 {
		c.MaxBody = defaultMaxBody
	}
	if c.Alarms == nil {
		c.Alarms = c.Log
	}
	if c.Transport == nil {
		c.Transport = remote.NewTransport(remote.Way{})
	}
	return c
}

// base checks what cannot be defaulted and returns the URL that all paths are appended to. Its errors quote nothing: a
// URL may hold a password.
func (c Config) base() (*url.URL, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("THREATMATCH_URL must be a URL like " + defaultURL)
	}
	if c.ClientID == "" || c.ClientSecret == "" {
		return nil, errors.New("THREATMATCH_CLIENT_ID and THREATMATCH_CLIENT_SECRET must be set")
	}
	if c.RatePerSecond < 0 {
		return nil, errors.New("the rate of requests must not be negative")
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimRight(u.Path, "/")}, nil
}
