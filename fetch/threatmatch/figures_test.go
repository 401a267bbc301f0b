package threatmatch

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// onceThen answers the first call in its own way, and all others well.
func onceThen(first func(*http.Request) (*http.Response, error)) func(*http.Request, int) (*http.Response, error) {
	return func(r *http.Request, call int) (*http.Response, error) {
		if call == 1 {
			return first(r)
		}
		return reply(200, `{"objects":[]}`), nil
	}
}

func TestEveryFailedRequestIsCountedByItsCause(t *testing.T) {
	fails := func(err error) func(*http.Request) (*http.Response, error) {
		return func(*http.Request) (*http.Response, error) { return nil, err }
	}
	answers := func(status int, body string) func(*http.Request) (*http.Response, error) {
		return func(*http.Request) (*http.Response, error) { return reply(status, body), nil }
	}
	for name, tc := range map[string]struct {
		first func(*http.Request) (*http.Response, error)
		want  Cause
	}{
		"429":               {answers(429, ""), RateLimited},
		"401":               {answers(401, ""), Unauthorized},
		"403":               {answers(403, ""), ClientError},
		"408":               {answers(408, ""), ClientError},
		"500":               {answers(500, ""), ServerError},
		"503":               {answers(503, ""), ServerError},
		"TLS behind a port": {answers(400, "The plain HTTP request was sent to HTTPS port: HTTP "), TLS},
		"a page":            {answers(200, "<html>"), Unreadable},
		"no JSON":           {answers(200, "{"), Unreadable},
		"refused":           {fails(syscall.ECONNREFUSED), Connection},
		"reset":             {fails(&net.OpError{Op: "read", Err: syscall.ECONNRESET}), Connection},
		"no such name":      {fails(&net.DNSError{IsNotFound: true}), Connection},
		"half a head":       {fails(io.ErrUnexpectedEOF), Connection},
		"half a body": {func(*http.Request) (*http.Response, error) {
			resp := reply(200, "")
			resp.Body = io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF))
			return resp, nil
		}, Connection},
		"an unknown authority": {fails(x509.UnknownAuthorityError{}), TLS},
		"something":            {fails(errors.New("something")), OtherCause},
		"no answer in time": {func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}, Timeout},
		"an answer that stalls": {func(r *http.Request) (*http.Response, error) {
			resp := reply(200, "")
			resp.Body = io.NopCloser(&slowBody{ctx: r.Context(), piece: []byte(" "), interval: time.Minute})
			resp.ContentLength = -1
			return resp, nil
		}, Timeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClient(t, newAPI(onceThen(tc.first)))
				_, _ = c.Item(t.Context(), "alerts", "7") // some causes are not worth a second attempt
				want := make(map[Cause]int64, len(Causes))
				for _, cause := range Causes {
					want[cause] = 0
				}
				want[tc.want] = 1
				if got := c.Figures().Failed; !maps.Equal(got, want) {
					t.Errorf("counted %v, want one of %s", got, tc.want)
				}
			})
		})
	}
}

func TestACallThatIsCalledOffIsNoFailureOfTheAPI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := newClient(t, newAPI(func(r *http.Request, _ int) (*http.Response, error) {
			cancel()
			<-r.Context().Done()
			return nil, r.Context().Err()
		}))
		_, err := c.Item(ctx, "alerts", "7")
		noRoom := func(int64) error { return ErrNoRoom }
		c2 := newClient(t, newAPI(always(200, `{"objects":[]}`)))
		_, full := c2.ItemWithin(t.Context(), "alerts", "7", noRoom)
		if err == nil || !errors.Is(full, ErrNoRoom) {
			t.Fatalf("not what this is about: %v, %v", err, full)
		}
		for _, figures := range []Figures{c.Figures(), c2.Figures()} {
			for cause, n := range figures.Failed {
				if n != 0 {
					t.Errorf("%d of %s were counted", n, cause)
				}
			}
		}
	})
}

func TestAWrongSecretIsCountedOnceForTheTokenAndNotForWhatWantedIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(always(200, `{"objects":[]}`))
		a.token = func() *http.Response { return reply(400, `{"error":"invalid_client"}`) }
		c := newClient(t, a)
		if _, err := c.Item(t.Context(), "alerts", "7"); !IsUnauthorized(err) {
			t.Fatalf("got %v", err)
		}
		if got := c.Figures().Failed; got[Unauthorized] != int64(a.tokens) || got[OtherCause]+got[ClientError] != 0 {
			t.Errorf("counted %v, asked for %d tokens", got, a.tokens)
		}
	})
}

func TestWaitsForTheRateLimitAreCountedWithTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, newAPI(always(200, `{"objects":[]}`)), func(cfg *Config) { cfg.RatePerSecond = 2 })
		for range 4 {
			if _, err := c.Item(t.Context(), "alerts", "7"); err != nil {
				t.Fatal(err)
			}
		}
		// The token's request leaves at once; for the first item the limiter is asked before and after it.
		if f := c.Figures(); f.Waits != 5 || f.Waited != 5*500*time.Millisecond {
			t.Errorf("%d waits of %s in all", f.Waits, f.Waited)
		}
		free := newClient(t, newAPI(always(200, `{"objects":[]}`)), func(cfg *Config) { cfg.RatePerSecond = 0 })
		if _, err := free.Item(t.Context(), "alerts", "7"); err != nil {
			t.Fatal(err)
		}
		if f := free.Figures(); f.Waits != 0 || f.Waited != 0 {
			t.Errorf("without a limit: %d waits of %s", f.Waits, f.Waited)
		}
	})
}
