package threatmatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secret   = "s3cr3t/&+value"
	clientID = "client-of-the-test"
)

// api is an API in memory. It runs under synctest: nothing in it touches the network.
type api struct {
	mu     sync.Mutex
	now    func() time.Time // the server's clock
	life   time.Duration    // of tokens
	expiry func(time.Time) string
	valid  map[string]time.Time
	tokens int
	calls  int // but for tokens
	times  []time.Time
	noDate bool
	away   bool
	// token, when set, answers the token calls.
	token func() *http.Response
	// answer gets the calls that carry a good token, numbered from 1; those that ask for little too when it is away.
	answer func(r *http.Request, call int) (*http.Response, error)
}

func newAPI(answer func(*http.Request, int) (*http.Response, error)) *api {
	return &api{now: time.Now, life: time.Hour, valid: map[string]time.Time{}, answer: answer,
		expiry: func(t time.Time) string { return fmt.Sprintf("%.3f", float64(t.UnixMilli())/1e3) }}
}

func (a *api) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	a.mu.Lock()
	a.times = append(a.times, time.Now())
	now := a.now()
	if strings.HasSuffix(r.URL.Path, "/token") {
		defer a.mu.Unlock()
		a.tokens++
		if a.token != nil {
			return a.token(), nil
		}
		name := fmt.Sprintf("access-token-number-%d", a.tokens)
		a.valid[name] = now.Add(a.life)
		return a.dated(reply(200, `{"access_token":"`+name+`","expires_at":`+a.expiry(now.Add(a.life))+`}`), now), nil
	}
	until, ok := a.valid[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	if !ok || !now.Before(until) {
		a.mu.Unlock()
		return reply(401, `{"error":"unauthorized"}`), nil
	}
	if little := littleAsked(r); little != "" && !a.away {
		defer a.mu.Unlock()
		return a.dated(reply(200, little), now), nil
	}
	a.calls++
	call := a.calls
	a.mu.Unlock()
	resp, err := a.answer(r, call)
	if resp != nil {
		a.dated(resp, now)
	}
	return resp, err
}

// littleAsked is the answer to a call for groups, or for what is newer than now, "" for another call.
func littleAsked(r *http.Request) string {
	switch {
	case r.URL.Path == groupsCall().path:
		return "[]"
	case r.URL.Query().Get("date_since") == formatSince(time.Now()):
		return `{"list":[]}`
	}
	return ""
}

func (a *api) dated(resp *http.Response, now time.Time) *http.Response {
	if !a.noDate {
		resp.Header.Set("Date", now.UTC().Format(http.TimeFormat))
	}
	return resp
}

func reply(status int, body string, header ...string) *http.Response {
	resp := &http.Response{StatusCode: status, Header: http.Header{}, ContentLength: int64(len(body)),
		Body: io.NopCloser(strings.NewReader(body))}
	for i := 0; i+1 < len(header); i += 2 {
		resp.Header.Set(header[i], header[i+1])
	}
	return resp
}

// always answers every call alike.
func always(status int, body string, header ...string) func(*http.Request, int) (*http.Response, error) {
	return func(*http.Request, int) (*http.Response, error) { return reply(status, body, header...), nil }
}

// slowBody brings a piece every interval, for ever, until the request's context ends.
type slowBody struct {
	ctx      context.Context
	piece    []byte
	interval time.Duration
}

func (b *slowBody) Read(p []byte) (int, error) {
	select {
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	case <-time.After(b.interval):
		return copy(p, b.piece), nil
	}
}

func (b *slowBody) Close() error { return nil }

func newClient(t testing.TB, transport http.RoundTripper, change ...func(*Config)) *Client {
	t.Helper()
	cfg := Config{URL: "https://user:password@threatmatch.test/", ClientID: clientID, ClientSecret: secret, Transport: transport}
	for _, c := range change {
		c(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serve runs a handler on loopback, for faults that need a real connection.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func asError(t *testing.T, err error) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %T %v, want an *Error", err, err)
	}
	return e
}

func mustNotLeak(t *testing.T, text string) {
	t.Helper()
	for _, s := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret), "s3cr3t", "access-token-number", "password", "user:", clientID} {
		if strings.Contains(text, s) {
			t.Errorf("%q shows %q", text, s)
		}
	}
}

func repeatByte(b byte, n int) string { return string(bytes.Repeat([]byte{b}, n)) }
