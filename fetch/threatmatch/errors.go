package threatmatch

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// Error is a call that failed for good, all retries included.
type Error struct {
	// Op says what was to be done.
	Op string
	// Path is the path of the URL, without host and query.
	Path string
	// Status is the HTTP status of the last answer, 0 when there was none.
	Status int
	// Temporary says that the same call may succeed later.
	Temporary bool
	// Attempts is how often it was tried.
	Attempts int
	// Detail is what the answer or the transport said, shortened and without secrets.
	Detail string
	// Err is the cause, nil when the status is.
	Err error

	// down says that the API failed as if it were down, whatever it was asked for.
	down bool
	// elsewhere says that something else than the API may have answered: a page for people, or the way to another server.
	elsewhere bool
	forToken  bool // the call was the one for the token
	why       remote.Diagnosis
}

// ErrTooLarge is the cause of an [*Error] for an answer above [Config.MaxBody].
var ErrTooLarge = errors.New("answer is too large")

// ErrNoRoom is the cause of an [*Error] for an answer for which the caller has no room, see [Client.ItemWithin].
var ErrNoRoom = errors.New("there is no room for the answer now")

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s)", e.Op, e.Path)
	if e.Status != 0 && e.Status != http.StatusOK {
		fmt.Fprintf(&b, ": %d %s", e.Status, http.StatusText(e.Status))
	}
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	if e.Attempts > 1 {
		fmt.Fprintf(&b, " (%d attempts)", e.Attempts)
	}
	if advice := e.advice(); advice != "" {
		b.WriteString("; " + advice)
	}
	return b.String()
}

// Unwrap gives the cause for [errors.Is]; its own text is not redacted.
func (e *Error) Unwrap() error { return e.Err }

func (e *Error) advice() string {
	d := e.diagnosis()
	if e.Status != 0 && e.why.Kind == "" {
		return d.Remedy // the status says the problem
	}
	return d.String()
}

// Diagnose says what a failed call means to an operator, the zero value where nothing is known.
func Diagnose(err error) remote.Diagnosis {
	var e *Error
	if !errors.As(err, &e) {
		return remote.Diagnosis{}
	}
	return e.diagnosis()
}

func (e *Error) diagnosis() remote.Diagnosis {
	switch {
	case e.why.Kind != "":
		return e.why
	case e.unauthorized():
		return remote.Diagnosis{
			Kind: "credentials", Lasting: true, Problem: "the client's id and secret are not accepted",
			Remedy: "check THREATMATCH_CLIENT_ID and THREATMATCH_CLIENT_SECRET",
		}
	case e.Status == http.StatusForbidden:
		return remote.Diagnosis{
			Kind: "right", Lasting: true, Problem: "the client may not read this",
			Remedy: "ask ThreatMatch for the right to read it, or switch the dataset off",
		}
	case e.Status == 0:
		return remote.Diagnosis{Kind: "unknown", Remedy: "check THREATMATCH_URL, the network and the proxy"}
	}
	return remote.Diagnosis{}
}

// unauthorized reports that the API itself does not accept the client. It can say so with a status that says that all is well.
func (e *Error) unauthorized() bool {
	if e.forToken && e.why.Kind == "" {
		switch e.Status {
		case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity:
			return true
		}
		var said saidError
		return errors.As(e.Err, &said)
	}
	return e.Status == http.StatusUnauthorized
}

// IsNotFound says that the API does not know what was asked for.
func IsNotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && !e.forToken && e.Status == http.StatusNotFound
}

// IsUnauthorized says that the API does not accept the client's id and secret, for this or any other call.
func IsUnauthorized(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.unauthorized()
}

// IsForbidden says that the client is known but may not read what was asked for.
func IsForbidden(err error) bool {
	var e *Error
	return errors.As(err, &e) && !e.forToken && e.Status == http.StatusForbidden
}

// IsTokenFailure says that there was no token to ask with, which is no verdict on what was asked for.
func IsTokenFailure(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.forToken
}

// longOpaque is what may be anybody's credential. No person misses it: the API's own words hold nothing like it, and what
// was asked for stands in the path.
var longOpaque = regexp.MustCompile(`[A-Za-z0-9+/_=.~%-]{40,}`)

// secrets are the credentials that no error and no line of the log may show.
type secrets struct{ known *remote.Redactor }

// redact takes the secrets, and whatever looks like one, out of a text from outside.
func (s secrets) redact(text string) string {
	return longOpaque.ReplaceAllString(s.known.Redact(text), remote.Hidden)
}

// quote redacts and shortens a body for an error.
func (s secrets) quote(body []byte) string {
	text := strings.Join(strings.Fields(s.redact(strings.ToValidUTF8(string(body), "?"))), " ")
	if len(text) <= quotedBody {
		return text
	}
	cut := quotedBody
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}
