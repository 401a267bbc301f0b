package opencti

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

var (
	// ErrWorkNotAlive says that an operator deleted the work: workers drop what is still sent for it.
	ErrWorkNotAlive = errors.New("the work was deleted in OpenCTI")
	// ErrConnectorGone says that the platform does not know the connector (any more). Registering creates it anew.
	ErrConnectorGone = errors.New("the connector is not registered in OpenCTI")
)

// Error is a call that the platform did not answer as asked.
type Error struct {
	// Operation is the GraphQL operation's name.
	Operation string
	// Status is the HTTP status, 0 when no answer came.
	Status int
	// Name is the first error's name, else its message, else its code; empty when the answer was no GraphQL.
	Name string
	// Message says what went wrong, in one line.
	Message string
	// Temporary says that the same call may well succeed later; see [IsTemporary].
	Temporary bool
	// Unsent says that the request surely did not reach the platform; see [IsUnsent].
	Unsent bool

	cause   error
	words   []string
	unknown []lesson // what the platform's schema does not have
	guessed bool     // that is every word of a message that was not understood
	misfit  bool     // some of that is the question's own
	tooMany bool
	foreign bool // no GraphQL server answers there
	why     remote.Diagnosis
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "call OpenCTI %s: ", e.Operation)
	if e.Name != "" && e.Name != e.Message {
		b.WriteString(e.Name)
		if e.Message != "" {
			b.WriteString(": ")
		}
	}
	b.WriteString(e.Message)
	if e.Status != 0 {
		fmt.Fprintf(&b, " (HTTP %d)", e.Status)
	}
	if lack, why := e.lack(); why != "" {
		fmt.Fprintf(&b, "; the connector cannot work with this release of OpenCTI: it does not know %s, and %s", lack, why)
	}
	if problem, remedy := ChosenWay(e); problem != "" {
		fmt.Fprintf(&b, "; %s: %s", problem, remedy)
	}
	if IsUnauthorized(e) {
		b.WriteString("; check OPENCTI_TOKEN and the rights of its user")
	}
	return b.String()
}

// lack returns a member that the platform does not know and the connector cannot do without, and why not.
func (e *Error) lack() (member, why string) {
	if !e.misfit || e.guessed {
		return "", ""
	}
	for _, l := range e.unknown {
		if why := indispensable[l.name]; why != "" {
			return l.name, why
		}
	}
	return "", ""
}

// ChosenWay tells whether a call failed because a setting chooses a way on which this release of the platform takes nothing: what is
// wrong, and what to set in its place; "" where that is not so.
func ChosenWay(err error) (problem, remedy string) {
	var e *Error
	if !errors.As(err, &e) || !e.misfit || e.guessed {
		return "", ""
	}
	for _, l := range e.unknown {
		if way, chosen := chosen[l.name]; chosen {
			return way.needs, way.remedy
		}
	}
	return "", ""
}

// Unwrap returns what kept the answer from coming, nil when it came.
func (e *Error) Unwrap() error { return e.cause }

// Is lets errors.Is find ErrWorkNotAlive in an answer that says so.
func (e *Error) Is(target error) bool {
	return target == ErrWorkNotAlive && e.says("WORK_NOT_ALIVE")
}

// says reports whether the answer used one of the names, as name, message or code of any of its errors.
func (e *Error) says(names ...string) bool {
	return slices.Contains(names, e.Name) || slices.ContainsFunc(e.words, func(w string) bool { return slices.Contains(names, w) })
}

// What the platform calls its errors (config/errors in opencti-graphql; older releases wrote ForbiddenAccess), and what
// GraphQL servers do in general.
var (
	unauthenticated = []string{
		"AUTH_REQUIRED", "AUTH_FAILURE", "UNAUTHENTICATED", "AuthRequired", "AuthFailure",
		"OTP_REQUIRED", "OTP_REQUIRED_ACTIVATION", "PASSWORD_CHANGE_REQUIRED", "LTS_REQUIRED_ACTIVATION",
	}
	forbidden = []string{"FORBIDDEN_ACCESS", "FORBIDDEN", "ForbiddenAccess"}
)

// IsUnauthorized reports whether the platform refused the token, or its user the right to do this.
func IsUnauthorized(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden ||
		e.says(unauthenticated...) || e.says(forbidden...))
}

// IsForbidden reports whether the platform knows the token's user and says that it lacks the right to do this. A proxy's
// 403 is no word of the platform.
func IsForbidden(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.says(forbidden...) && !e.says(unauthenticated...)
}

// IsUnrecognized reports whether what answered does not speak GraphQL, or its answer is not one to the operation that was
// sent: it is no OpenCTI, or a proxy in front of one.
func IsUnrecognized(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status != 0 && e.Name == ""
}

// IsRefused reports whether the platform will not answer this, however often it is asked: the right is missing, which
// [IsForbidden] tells, or else this release does not know the question, or protects itself from it.
func IsRefused(err error) bool {
	var e *Error
	return errors.As(err, &e) && !e.Temporary && (IsForbidden(err) || e.misfit || e.tooMany)
}

// tooMany reports whether the platform refused the question for the number of its parts.
func tooMany(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.tooMany
}

// IsTooLarge reports whether the platform, or a proxy before it, takes no request of that size (app:max_payload_body_size).
func IsTooLarge(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusRequestEntityTooLarge
}

// IsUnsent reports whether the request surely did not reach the platform, so that even a mutation may be repeated.
func IsUnsent(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Unsent
}

// IsTemporary reports whether the same call may well succeed later: no connection, a time-out, an answer that broke
// off, or a proxy's page in place of one. A call that its caller cancelled is not temporary.
func IsTemporary(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Temporary
}

func temporaryStatus(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}
