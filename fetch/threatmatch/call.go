package threatmatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/klauspost/compress/gzip"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// call is one call of the API on its way through the retries.
type call struct {
	op    string
	path  string // escaped, below the base
	query url.Values
	body  []byte // JSON to post; nil for GET
	// token marks the call that fetches the token and so cannot wait for one.
	token  bool
	decode decodeFunc

	attempts int
	refusals int         // answers that were well formed but no success
	used     *token      // of the last attempt
	header   http.Header // of the last answer
}

type callKey struct{}

func callOf(ctx context.Context) *call {
	k, _ := ctx.Value(callKey{}).(*call)
	return k
}

// do makes a call succeed or returns an [*Error], or ctx.Err(). A 401 costs the token, and one repetition.
func (c *Client) do(ctx context.Context, k *call) error {
	// A token that lives a second can be refused on its way, several times: that says nothing about the credentials.
	const mostShort = 4
	for refused := 1; ; refused++ {
		err := c.try(ctx, k)
		if err == nil || k.token || k.used == nil || !isStatus(err, http.StatusUnauthorized) {
			return err
		}
		c.tokens.drop(k.used)
		if refused >= 2 && (k.used.life > tokenShort || refused >= mostShort) {
			return err
		}
	}
}

func isStatus(err error, status int) bool {
	var e *Error
	return errors.As(err, &e) && !e.token && e.Status == status
}

func (c *Client) try(ctx context.Context, k *call) error {
	req, err := c.newRequest(context.WithValue(ctx, callKey{}, k), k)
	if err != nil {
		return fmt.Errorf("%s: build request: %s", k.op, c.redact(err.Error()))
	}
	req.SetResponseHandler(func(resp *http.Response) error { return c.understand(k, resp) })
	_, err = c.http.Do(req)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", k.op, ctx.Err())
	}
	var noToken *tokenFailure
	if errors.As(err, &noToken) {
		return noToken.err
	}
	var answered *Error
	if !errors.As(err, &answered) {
		answered = c.transportError(k, err)
	}
	answered.Attempts = k.attempts
	return answered
}

func (c *Client) newRequest(ctx context.Context, k *call) (*retryablehttp.Request, error) {
	method, body := http.MethodGet, any(nil)
	if k.body != nil {
		method, body = http.MethodPost, k.body
	}
	target := c.base.String() + k.path
	if len(k.query) > 0 {
		target += "?" + k.query.Encode()
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Accept-Encoding", "gzip")
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	if k.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

func (c *Client) newError(k *call, status int, detail string, cause error) *Error {
	return &Error{Op: k.op, Path: k.path, Status: status, Detail: detail, Err: cause, token: k.token}
}

func (c *Client) transportError(k *call, err error) *Error {
	cause := err
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		cause = wrapped.Err // what is around it quotes the URL
	}
	e := c.newError(k, 0, c.redact(cause.Error()), cause)
	e.Temporary = !remote.Lasting(err)
	return e
}

// understand reads an answer to its end, inside the attempt: what is wrong with it is retried like a bad status.
func (c *Client) understand(k *call, resp *http.Response) error {
	defer resp.Body.Close()
	k.header = resp.Header
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		// The excerpt is for people; when it cannot be read the status says enough.
		excerpt, _ := readExcerpt(resp)
		e := c.newError(k, resp.StatusCode, c.quote(excerpt), nil)
		e.Temporary = temporaryStatus(resp.StatusCode)
		return e
	}
	c.clock.observe(resp.Header)
	buf := c.buffer()
	defer c.release(buf)
	if err := c.readBody(buf, resp); err != nil {
		e := c.newError(k, resp.StatusCode, c.redact(err.Error()), err)
		e.Temporary = !errors.Is(err, ErrTooLarge)
		return e
	}
	err, irregular := decodeBody(buf.Bytes(), k.decode)
	if irregular != nil {
		c.noteIrregular(k, irregular)
	}
	if err == nil {
		return nil
	}
	e := c.newError(k, resp.StatusCode, c.quote([]byte(err.Error())), err)
	e.Temporary = true
	var shape shapeError
	var said saidError
	if errors.As(err, &shape) || errors.As(err, &said) {
		k.refusals++
		e.Temporary = k.refusals < fewAttempts
	}
	return e
}

func readExcerpt(resp *http.Response) ([]byte, error) {
	body, done, err := decompress(resp)
	if err != nil {
		return nil, err
	}
	defer done()
	return io.ReadAll(io.LimitReader(body, errorBody))
}

// readBody reads a body of at most Config.MaxBody bytes into buf.
func (c *Client) readBody(buf *bytes.Buffer, resp *http.Response) error {
	if resp.ContentLength > c.cfg.MaxBody {
		return c.tooLarge()
	}
	body, done, err := decompress(resp)
	if err != nil {
		return err
	}
	defer done()
	if hint := min(resp.ContentLength, sizeHintMax); hint > 0 {
		buf.Grow(int(hint) + bytes.MinRead)
	}
	n, err := buf.ReadFrom(io.LimitReader(body, c.cfg.MaxBody+1))
	if err != nil {
		return fmt.Errorf("read answer after %d bytes: %w", n, err)
	}
	if n > c.cfg.MaxBody {
		return c.tooLarge()
	}
	return nil
}

func (c *Client) tooLarge() error {
	return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, c.cfg.MaxBody)
}

// decompress undoes the Content-Encoding; done must be called after reading.
func decompress(resp *http.Response) (io.Reader, func(), error) {
	switch encoding := strings.ToLower(resp.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
		return resp.Body, func() {}, nil
	case "gzip", "x-gzip":
		unzip, err := gzip.NewReader(resp.Body)
		if err != nil {
			return nil, nil, fmt.Errorf("read compressed answer: %w", err)
		}
		return unzip, func() { _ = unzip.Close() }, nil
	default:
		return nil, nil, fmt.Errorf("read answer: unknown Content-Encoding %.20q", encoding)
	}
}

func (c *Client) buffer() *bytes.Buffer {
	if buf, ok := c.buffers.Get().(*bytes.Buffer); ok {
		buf.Reset()
		return buf
	}
	return new(bytes.Buffer)
}

func (c *Client) release(buf *bytes.Buffer) {
	if buf.Cap() <= pooledBuffer {
		c.buffers.Put(buf)
	}
}
