package threatmatch

import (
	"context"
	"net/http"
	"net/url"

	"github.com/hashicorp/go-retryablehttp"
)

// call is one call of the API on its way through the retries.
type call struct {
	op    string
	part  string // of the API: a dataset, or indicatorsPart; "" for the call for a token, which all need
	path  string // escaped, below the base
	query url.Values
	body  []byte // JSON to post; nil for GET
	// forToken marks the call that fetches the token and so cannot wait for one.
	forToken bool
	// once is set where an attempt that fails is not repeated.
	once   bool
	limit  bound // of its answer
	decode decodeFunc
	grow   func(size int64) error // is told the size of an answer that comes in; nil for nobody

	attempts int
	refusals int         // answers that were well formed but no success
	used     *token      // of the last attempt
	lost     *Error      // of the last attempt, where that had no answer
	header   http.Header // of the last answer
}

type callKey struct{}

// carrying returns a context that carries a call.
func carrying(ctx context.Context, k *call) context.Context {
	return context.WithValue(ctx, callKey{}, k)
}

func callOf(ctx context.Context) *call {
	k, _ := ctx.Value(callKey{}).(*call)
	return k
}

// request builds what every attempt sends, but for the token.
func (k *call) request(ctx context.Context, base *url.URL, userAgent string) (*retryablehttp.Request, error) {
	method, body := http.MethodGet, any(nil)
	if k.body != nil {
		method, body = http.MethodPost, k.body
	}
	target := base.String() + k.path
	if len(k.query) > 0 {
		target += "?" + k.query.Encode()
	}
	req, err := retryablehttp.NewRequestWithContext(carrying(ctx, k), method, target, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Accept-Encoding", "gzip")
	req.Header.Set("User-Agent", userAgent)
	if k.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

func (k *call) newError(status int, detail string, cause error) *Error {
	return &Error{Op: k.op, Path: k.path, Status: status, Detail: detail, Err: cause, forToken: k.forToken}
}
