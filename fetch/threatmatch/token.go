package threatmatch

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// tokenMargin and tokenMarginPart: a token is replaced this long, or this part of its life, ahead of its expiry,
	// whichever is shorter, so that one of a minute or a second still serves most of its time.
	tokenMargin     = 10 * time.Second
	tokenMarginPart = 10
	// tokenLeast bounds how often tokens are fetched, whatever expiry they claim.
	tokenLeast = 250 * time.Millisecond
	// tokenBlind is how long a token without a believable expiry is used; a 401 ends it earlier.
	tokenBlind = 5 * time.Minute
	// tokenMost keeps absurd expiries out of time arithmetic.
	tokenMost = 24 * time.Hour
	// tokenShort is a life in which a token may well expire on its way to the server.
	tokenShort = 5 * time.Second
)

// token is one access token; until is on the monotonic clock, which nobody sets.
type token struct {
	value string
	life  time.Duration
	until time.Time
}

// newToken judges an expiry (unix seconds, NaN when unknown) by the server's clock.
func newToken(value string, expires float64, server, received time.Time) *token {
	t := &token{value: value, life: tokenBlind}
	seconds := expires - float64(server.UnixMicro())/1e6
	switch {
	case math.IsNaN(seconds) || seconds <= -1:
	case seconds > tokenMost.Seconds():
		t.life = tokenMost
	default:
		t.life = time.Duration(seconds * float64(time.Second))
	}
	use := max(t.life-min(tokenMargin, t.life/tokenMarginPart), tokenLeast)
	t.until = received.Add(use)
	return t
}

func (t *token) usable() bool { return t != nil && time.Now().Before(t.until) }

// tokens holds the token that all calls share and sees to it that one refresh serves them all.
type tokens struct {
	fetch func(context.Context) (*token, error)

	mu      sync.Mutex
	current *token
	refresh *refresh
}

// refresh is a fetch under way; the caller that began it runs it, the others wait for done.
type refresh struct {
	done chan struct{}
	err  error
	// abandoned says that the caller's own context ended it, which is no verdict for the others.
	abandoned bool
}

// get returns a usable token, and fetches one if need be.
func (t *tokens) get(ctx context.Context) (*token, error) {
	for {
		t.mu.Lock()
		if t.current.usable() {
			defer t.mu.Unlock()
			return t.current, nil
		}
		running := t.refresh
		if running == nil {
			running = &refresh{done: make(chan struct{})}
			t.refresh = running
			t.mu.Unlock()
			return t.run(ctx, running)
		}
		t.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-running.done:
		}
		if running.err != nil && !running.abandoned {
			return nil, running.err
		}
	}
}

func (t *tokens) run(ctx context.Context, r *refresh) (*token, error) {
	fresh, err := t.fetch(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		t.current = fresh
	}
	r.err, r.abandoned = err, err != nil && ctx.Err() != nil
	t.refresh = nil
	close(r.done)
	return fresh, err
}

// peek returns the token in use, or nil when a call would have to fetch one.
func (t *tokens) peek() *token {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current.usable() {
		return t.current
	}
	return nil
}

// drop forgets a token that the server refused, unless another has taken its place.
func (t *tokens) drop(refused *token) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current == refused {
		t.current = nil
	}
}

// decodeToken returns the token and its expiry in unix seconds, NaN when it does not say.
func decodeToken(body []byte, lax bool) (value string, expires float64, err error) {
	expires = math.NaN()
	err = readObject(body, lax, func(name string, dec *jsontext.Decoder) (bool, error) {
		kind := dec.PeekKind()
		switch {
		case name == "access_token" && kind == '"':
			t, err := dec.ReadToken()
			if err == nil {
				value = t.String()
			}
			return true, err
		case name == "expires_at" && (kind == '"' || kind == '0'):
			t, err := dec.ReadToken()
			if err == nil {
				expires = parseExpiry(t.String())
			}
			return true, err
		}
		return false, nil
	})
	if err == nil && value == "" {
		err = shapeError("the answer has no access_token")
	}
	if err == nil && !validHeader(value) {
		err = errors.New("the access token holds characters that no header can carry")
	}
	return value, expires, err
}

func parseExpiry(text string) float64 {
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(seconds, 0) || seconds <= 0 {
		return math.NaN()
	}
	return seconds
}

func validHeader(value string) bool {
	for i := range len(value) {
		if value[i] <= ' ' || value[i] >= 0x7f {
			return false
		}
	}
	return true
}

func bearer(h http.Header, t *token) { h.Set("Authorization", "Bearer "+t.value) }
