package threatmatch

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// checkRetry decides by the error alone: [caller.understand] turns every bad status and body into one.
func checkRetry(ctx context.Context, _ *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if k := callOf(ctx); err == nil || k != nil && k.once {
		return false, nil
	}
	var noToken *tokenFailure
	if errors.As(err, &noToken) {
		return false, nil
	}
	var answered *Error
	if errors.As(err, &answered) {
		return answered.Temporary, nil
	}
	return !remote.Lasting(err), nil // who wants it waits, see [caller.do]
}

// temporaryStatus lists what may pass by itself.
func temporaryStatus(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return false
	}
	return status >= 500
}

// backoff is what the server asks for, up to a cap, or else the usual wait. A server that asks for less than the shortest
// backoff gets the usual one, so that "0" is no hot loop.
func (c Config) backoff(_, _ time.Duration, attempt int, resp *http.Response) time.Duration {
	if resp != nil && temporaryStatus(resp.StatusCode) {
		if wait, ok := retryAfter(resp.Header, c.Now()); ok && wait >= c.Backoff.Min {
			// The jitter keeps the workers that were refused together from coming back together.
			return min(wait, c.RetryAfterMax) + rand.N(c.Backoff.Min/4+1)
		}
	}
	return c.Backoff.Delay(attempt)
}

// retryAfter reads a Retry-After header: seconds, or a date that is judged by the server's own clock. What is neither,
// or negative, is not there. The result may be absurdly long but never negative.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if text == "" {
		return 0, false
	}
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		const most = 1 << 31 // seconds; more does not fit into a Duration for long
		if !(seconds >= 0) {
			return 0, false
		}
		return time.Duration(min(seconds, most) * float64(time.Second)), true
	}
	date, err := http.ParseTime(text)
	if err != nil {
		return 0, false
	}
	if server, ok := serverDate(h); ok {
		now = server
	}
	return max(date.Sub(now), 0), true
}

// passError hands the error of the last attempt on; the body is closed already.
func passError(_ *http.Response, err error, _ int) (*http.Response, error) { return nil, err }
