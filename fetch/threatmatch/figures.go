package threatmatch

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// Cause is why a request to the API failed. There are as many as [Causes] has.
type Cause string

// The causes.
const (
	RateLimited  Cause = "rate_limited" // 429
	Unauthorized Cause = "unauthorized" // the client's id, secret or token is not taken; a token may have expired on its way
	ClientError  Cause = "client_error" // another 4xx
	ServerError  Cause = "server_error" // 5xx
	Unreadable   Cause = "unreadable"   // an answer that is no success though its status says so
	Timeout      Cause = "timeout"      // no answer in time, or one that stalled
	Connection   Cause = "connection"   // there was none, or it broke off
	TLS          Cause = "tls"          // a certificate that is not trusted, or TLS on one side only
	OtherCause   Cause = "other"
)

// Causes are all, in the order in which they are shown.
var Causes = [...]Cause{RateLimited, Unauthorized, ClientError, ServerError, Unreadable, Timeout, Connection, TLS, OtherCause}

// Figures are counts since New, and what is so now.
type Figures struct {
	// Failed counts requests that failed, by cause: each attempt is one, whether or not it was repeated.
	Failed map[Cause]int64
	// Waits counts requests that had to wait for the rate limit, and Waited is how long they did in all, those that waited side by
	// side each for itself. The pause that the API asks for with a 429 is not in it.
	Waits  int64
	Waited time.Duration
	// Silent says that calls wait for an API that does not answer, and has not for a while.
	Silent bool
}

// Figures returns the counts of now.
func (c *Client) Figures() Figures {
	f := Figures{
		Failed: make(map[Cause]int64, len(Causes)),
		Waits:  c.wire.waits.Load(), Waited: time.Duration(c.wire.waited.Load()), Silent: c.silence.HoldsUp(),
	}
	for i, cause := range Causes {
		f.Failed[cause] = c.failures[i].Load()
	}
	return f
}

// failures counts by the places of Causes.
type failures [len(Causes)]atomic.Int64

// note counts an attempt that has failed. That the caller had no room for the answer is no failure of the API's.
func (f *failures) note(e *Error) {
	if errors.Is(e, ErrNoRoom) {
		return
	}
	cause := e.cause()
	for i := range Causes {
		if Causes[i] == cause {
			f[i].Add(1)
		}
	}
}

// causeOfKind has the kinds of a diagnosis of which a status says nothing.
var causeOfKind = map[string]Cause{
	"authority": TLS, "name": TLS, "expired": TLS, "certificate": TLS, "plain": TLS, "encrypted": TLS,
	"unresolved": Connection, "dns": Connection, "refused": Connection, "unreachable": Connection, "reset": Connection, "ended": Connection,
	"timeout": Timeout, "foreign": Unreadable,
}

// cause judges by the status where that says what is wrong, else by what kept the answer from coming.
func (e *Error) cause() Cause {
	switch status := e.Status; {
	case e.why.Kind == "encrypted":
		return TLS
	case status == http.StatusTooManyRequests:
		return RateLimited
	case e.unauthorized():
		return Unauthorized
	case status >= 500:
		return ServerError
	case status >= 400:
		return ClientError
	case errors.Is(e.Err, errTooSlow):
		return Timeout
	case e.down && errors.Is(e.Err, io.ErrUnexpectedEOF):
		return Connection
	case e.why.Kind == "" && status != 0:
		return Unreadable
	}
	if cause, known := causeOfKind[e.why.Kind]; known {
		return cause
	}
	return OtherCause
}
