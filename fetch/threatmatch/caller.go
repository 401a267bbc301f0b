package threatmatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// caller makes calls succeed: behind one token, one rate limit and one policy of retries.
type caller struct {
	cfg      Config
	base     *url.URL
	http     *retryablehttp.Client
	wire     *wire
	tokens   *tokens
	outages  *outages
	silence  *remote.Silence
	secrets  secrets
	clock    clock
	bodies   bodies
	lax      atomic.Int64 // answers that were read leniently
	failures failures
}

func newCaller(cfg Config) (*caller, error) {
	cfg = cfg.withDefaults()
	base, err := cfg.base()
	if err != nil {
		return nil, err
	}
	c := &caller{cfg: cfg, base: base, clock: clock{now: cfg.Now}, bodies: bodies{most: cfg.MaxBody},
		secrets: secrets{known: remote.NewRedactor(cfg.ClientID, cfg.ClientSecret)}}
	c.tokens = &tokens{fetch: c.fetchToken}
	c.wire = newWire(cfg, c.tokens)
	c.silence = newSilence(cfg)
	c.outages = &outages{cfg: cfg, probe: c.probe, all: c.silence, parts: map[string]*outage{}}
	c.wire.progress = c.silence.Heard
	c.http = &retryablehttp.Client{
		HTTPClient: &http.Client{Transport: c.wire, CheckRedirect: remote.FollowRedirect},
		RetryMax:   cfg.Attempts - 1,
		CheckRetry: func(ctx context.Context, resp *http.Response, err error) (bool, error) {
			failed := c.noteFailure(ctx, err)
			if failed != nil && failed.down && !failed.forToken && c.outages.of(callOf(ctx).part).isKnown() {
				return false, nil // another call has found out: this one waits for the same
			}
			return checkRetry(ctx, resp, err)
		},
		Backoff:      cfg.backoff,
		ErrorHandler: passError,
		RequestLogHook: func(_ retryablehttp.Logger, req *http.Request, retry int) {
			if k := callOf(req.Context()); retry > 0 && k != nil {
				cfg.Log.Debug("retrying", zap.String("path", k.path), zap.Int("retry", retry))
			}
		},
	}
	return c, nil
}

// askFor makes a call and returns what decode finds in its answer.
func askFor[T any](ctx context.Context, c *caller, decode func(body []byte, lax bool) (T, error), k *call) (T, error) {
	var found, none T
	k.decode = func(body []byte, lax bool) (err error) {
		found, err = decode(body, lax)
		return err
	}
	if err := c.do(ctx, k); err != nil {
		return none, err
	}
	return found, nil
}

// do makes a call succeed or returns an [*Error], an [*AwayError], or ctx.Err(). A call that fails as if the API were away waits
// until its part of that answers and is tried again in full. When that is there the call is tried once more: an outage may have
// ended a moment before, and else it is the call's own fault, for which others that wait for its turn are not to be held up twice.
func (c *caller) do(ctx context.Context, k *call) error {
	if k.forToken || k.once {
		return c.authorized(ctx, k) // who wanted it waits
	}
	defer c.silence.Watch()()
	outage := c.outages.of(k.part)
	for {
		if err := outage.pass(ctx); err != nil {
			return fmt.Errorf("%s: %w", k.op, err)
		}
		err := c.authorized(ctx, k)
		if !isDown(err) || k.once {
			return err
		}
		wasAway, gone := outage.await(ctx)
		var away *AwayError
		switch {
		case errors.As(gone, &away):
			return &AwayError{away.For, err}
		case gone != nil:
			return fmt.Errorf("%s: %w", k.op, gone)
		}
		k.once = !wasAway
	}
}

// probe asks for little, to see whether a part of the API answers at all. Where something else seems to answer, it may be that the
// client has no right to this: whoever gives a token is the API.
func (c *caller) probe(ctx context.Context, part string) error {
	k := groupsCall()
	if part != indicatorsPart {
		k = listCall(part, c.cfg.Now())
	}
	k.op, k.once, k.decode = "see whether ThreatMatch answers", true, func([]byte, bool) error { return nil }
	err := c.do(ctx, k)
	var e *Error
	if errors.As(err, &e) && e.elsewhere && !e.forToken {
		_, err = c.fetchToken(carrying(ctx, k))
	}
	return err
}

// authorized makes a call succeed or returns its error. A 401 costs the token, and one repetition.
func (c *caller) authorized(ctx context.Context, k *call) error {
	// A token that lives a second can be refused on its way, several times: that says nothing about the credentials.
	const mostShort = 4
	for refused := 1; ; refused++ {
		err := c.try(ctx, k)
		if err == nil || k.forToken || k.used == nil || !isStatus(err, http.StatusUnauthorized) {
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
	return errors.As(err, &e) && !e.forToken && e.Status == status
}

func (c *caller) try(ctx context.Context, k *call) error {
	req, err := k.request(ctx, c.base, c.cfg.UserAgent)
	if err != nil {
		return fmt.Errorf("%s: build request: %s", k.op, c.secrets.redact(err.Error()))
	}
	req.SetResponseHandler(func(resp *http.Response) error { return c.understand(k, resp) })
	k.lost = nil
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
		if answered = k.lost; answered == nil { // before there was an attempt
			answered = c.transportError(k, err)
		}
	}
	answered.Attempts = k.attempts
	return answered
}

// noteFailure counts an attempt that has failed, and notes one that did before there was an answer: the call may have more of them
// before it. It returns what has failed, nil where that was not the attempt.
func (c *caller) noteFailure(ctx context.Context, err error) (failed *Error) {
	var noToken *tokenFailure
	k := callOf(ctx)
	if err == nil || ctx.Err() != nil || k == nil || errors.As(err, &noToken) {
		return nil
	}
	if !errors.As(err, &failed) {
		failed = c.transportError(k, err)
		k.lost = failed
	}
	c.failures.note(failed)
	return failed
}

func (c *caller) transportError(k *call, err error) *Error {
	cause := err
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		cause = wrapped.Err // what is around it quotes the URL
	}
	e := k.newError(0, c.secrets.redact(cause.Error()), cause)
	e.Temporary, e.down = true, true
	e.why = diagnose(cause)
	var redirect *remote.RedirectError
	if e.elsewhere = errors.As(err, &redirect); !e.elsewhere || k.forToken {
		c.silence.Failed(e, e.why)
	}
	return e
}

// understand reads an answer to its end, inside the attempt: what is wrong with it is retried like a bad status.
func (c *caller) understand(k *call, resp *http.Response) error {
	defer resp.Body.Close()
	k.header = resp.Header
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		// What cannot be read of it is missed by nobody: the status says enough.
		excerpt, _ := readExcerpt(resp)
		e := k.newError(resp.StatusCode, c.secrets.quote(excerpt), nil)
		e.Temporary = temporaryStatus(resp.StatusCode)
		if resp.StatusCode == http.StatusTooManyRequests {
			c.wire.coolDown(c.cfg.backoff(0, 0, k.attempts-1, resp))
		}
		c.judge(k, e, excerpt)
		return e
	}
	c.clock.observe(resp.Header)
	buf := c.bodies.buffer()
	defer c.bodies.release(buf)
	body, err := c.bodies.read(buf, resp, k.limit, k.grow)
	if err != nil {
		e := k.newError(resp.StatusCode, c.secrets.redact(err.Error()), err)
		e.Temporary = !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrNoRoom)
		if e.down = isLost(err); e.down {
			e.why = diagnose(err)
			c.silence.Failed(e, e.why)
		} else {
			c.heard(k)
		}
		return e
	}
	err, irregular := decodeBody(body, k.decode)
	if irregular != nil {
		c.noteIrregular(k, irregular)
	}
	if err == nil {
		c.heard(k)
		return nil
	}
	e := k.newError(resp.StatusCode, c.secrets.quote([]byte(err.Error())), err)
	e.Temporary = true
	var shape shapeError
	var said saidError
	if errors.As(err, &shape) || errors.As(err, &said) {
		k.refusals++
		e.Temporary = k.refusals < fewAttempts
	}
	c.judge(k, e, body)
	return e
}

func (c *caller) noteIrregular(k *call, cause error) {
	c.lax.Add(1)
	c.cfg.Log.Warn("answer is irregular JSON, read leniently",
		zap.String("path", k.path), zap.String("cause", c.secrets.redact(cause.Error())))
}

func (c *caller) fetchToken(ctx context.Context) (*token, error) {
	body, err := json.Marshal(map[string]string{"client_id": c.cfg.ClientID, "client_secret": c.cfg.ClientSecret})
	if err != nil {
		return nil, fmt.Errorf("encode token request: %w", err)
	}
	k := &call{op: "get token", path: "/api/developers-platform/token", body: body, forToken: true, limit: bound{bytes: smallBody}}
	if wanting := callOf(ctx); wanting != nil {
		k.once = wanting.once
	}
	return askFor(ctx, c, func(answer []byte, lax bool) (*token, error) {
		value, expires, err := decodeToken(answer, lax)
		if err != nil {
			return nil, err
		}
		c.secrets.known.Add(value)
		return newToken(value, expires, c.clock.serverNow(k.header), time.Now()), nil
	}, k)
}
