package threatmatch

import (
	"context"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func sideBySide(t *testing.T, n int, work func(worker int)) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { work(i) })
	}
	wg.Wait()
}

func TestAMissingTokenIsRefreshedOnceForAllWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(always(200, `{"objects":[]}`))
		c := newClient(t, a)
		for round := 1; round <= 2; round++ {
			sideBySide(t, 50, func(int) {
				if _, err := c.Item(t.Context(), "alerts", "1"); err != nil {
					t.Error(err)
				}
			})
			if a.tokens != round {
				t.Fatalf("round %d: %d tokens", round, a.tokens)
			}
			a.mu.Lock()
			clear(a.valid) // revoked: everybody gets a 401
			a.mu.Unlock()
		}
	})
}

func TestATokenIsReplacedAheadOfItsExpiryWithoutAStorm(t *testing.T) {
	for name, tc := range map[string]struct {
		life    time.Duration
		skew    time.Duration // of the local clock
		numeric bool
		refused int // most 401s in ten minutes
	}{
		"an hour":                         {life: time.Hour},
		"a minute":                        {life: time.Minute},
		"a minute, local clock ahead":     {life: time.Minute, skew: time.Hour},
		"a minute, local clock behind":    {life: time.Minute, skew: -time.Hour},
		"a second":                        {life: time.Second},
		"a second, local clock ahead":     {life: time.Second, skew: 5 * time.Minute},
		"a second, as a numeric string":   {life: time.Second, numeric: true},
		"two seconds, local clock behind": {life: 2 * time.Second, skew: -5 * time.Minute, refused: 400},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAPI(always(200, `{"objects":[]}`))
				a.life = tc.life
				if tc.numeric {
					plain := a.expiry
					a.expiry = func(at time.Time) string { return `"` + plain(at) + `"` }
				}
				c := newClient(t, a, func(cfg *Config) {
					cfg.RatePerSecond = 20
					cfg.Now = func() time.Time { return time.Now().Add(tc.skew) }
				})
				begin := time.Now()
				sideBySide(t, 24, func(int) {
					for time.Since(begin) < 2*time.Minute {
						if _, err := c.Item(t.Context(), "alerts", "1"); err != nil {
							t.Error(err)
							return
						}
					}
				})
				took := time.Since(begin)
				most := int(took/min(max(tc.life-10*time.Second, tc.life*8/10), tc.life)) + 2
				if tc.skew > 0 && tc.life <= time.Second {
					most = int(took/tokenLeast) + 2 // the header's second cannot be told from the token's
				}
				if a.tokens > most {
					t.Errorf("%d tokens in %s, want at most %d", a.tokens, took, most)
				}
				refused := len(a.times) - a.calls - a.tokens
				if refused > tc.refused {
					t.Errorf("%d calls left with a dead token, want at most %d", refused, tc.refused)
				}
				if least := int(took.Seconds()) * 20 / 5; a.calls < least {
					t.Errorf("%d calls in %s, want at least %d", a.calls, took, least)
				}
			})
		})
	}
}

func TestTheRateLimitCountsTokensAndRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(func(_ *http.Request, call int) (*http.Response, error) {
			if call%2 == 0 {
				return reply(503, ""), nil
			}
			return reply(200, `{"objects":[]}`), nil
		})
		a.life = 5 * time.Second
		c := newClient(t, a, func(cfg *Config) { cfg.RatePerSecond = 10; cfg.Backoff.Min = time.Millisecond })
		sideBySide(t, 16, func(int) {
			for range 20 {
				// A call may meet five 503s in a row; here only the pace counts.
				_, _ = c.Item(t.Context(), "alerts", "1")
			}
		})
		if int64(len(a.times)) != c.Requests() {
			t.Errorf("Requests says %d, the server %d", c.Requests(), len(a.times))
		}
		for i := 10; i < len(a.times); i++ {
			if gap := a.times[i].Sub(a.times[i-10]); gap < time.Second-time.Millisecond {
				t.Fatalf("requests %d to %d left within %s", i-10, i, gap)
			}
		}
	})
}

func TestARefusedClientIsToldToCheckItsCredentials(t *testing.T) {
	for _, status := range []int{200, 400, 401, 403, 422} {
		synctest.Test(t, func(t *testing.T) {
			a := newAPI(always(200, `{"objects":[]}`))
			a.token = func() *http.Response { return reply(status, `{"error":"no such client `+secret+`"}`) }
			c := newClient(t, a)
			_, err := c.List(t.Context(), "alerts", time.Now())
			if !IsUnauthorized(err) || !strings.Contains(err.Error(), "check THREATMATCH_CLIENT_ID and THREATMATCH_CLIENT_SECRET") {
				t.Errorf("token %d: %v", status, err)
			}
			if a.tokens != 1 && (status != 200 || a.tokens > fewAttempts) {
				t.Errorf("token %d was asked for %d times", status, a.tokens)
			}
			mustNotLeak(t, err.Error())
		})
	}
}

func TestA401CostsOneNewTokenAndOneRepetition(t *testing.T) {
	for _, tc := range []struct {
		refusals, calls, tokens int
		fails                   bool
	}{{1, 2, 2, false}, {1000, 2, 2, true}} {
		synctest.Test(t, func(t *testing.T) {
			a := newAPI(func(_ *http.Request, call int) (*http.Response, error) {
				if call <= tc.refusals {
					return reply(401, "who are you?"), nil
				}
				return reply(200, `{"objects":[]}`), nil
			})
			_, err := newClient(t, a).Item(t.Context(), "alerts", "1")
			if (err != nil) != tc.fails || err != nil && !IsUnauthorized(err) {
				t.Errorf("%d refusals: %v", tc.refusals, err)
			}
			if a.calls != tc.calls || a.tokens != tc.tokens {
				t.Errorf("%d calls, %d tokens, want %d and %d", a.calls, a.tokens, tc.calls, tc.tokens)
			}
		})
	}
}

func TestACallerThatLeavesDoesNotFailTheOthersRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(always(200, `{"objects":[]}`))
		gate := make(chan struct{})
		c := newClient(t, transportFunc(func(r *http.Request) (*http.Response, error) {
			select {
			case <-gate:
				return a.RoundTrip(r)
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
		}))
		leaving, leave := context.WithCancel(t.Context())
		results := make(chan error, 2)
		go func() { _, err := c.Item(leaving, "alerts", "1"); results <- err }()
		synctest.Wait()
		go func() { _, err := c.Item(t.Context(), "alerts", "1"); results <- err }()
		synctest.Wait()
		leave()
		if err := <-results; err == nil {
			t.Error("the caller that left got an answer")
		}
		close(gate)
		if err := <-results; err != nil {
			t.Error(err)
		}
	})
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestExpiriesThatCannotBeBelievedAreNotUsed(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for _, tc := range []struct {
		expires float64
		life    time.Duration
	}{
		{1_700_000_060, time.Minute},
		{1_700_000_000.5, 500 * time.Millisecond},
		{1_600_000_000, tokenBlind},
		{math.NaN(), tokenBlind},
		{1e300, tokenMost},
		{1_700_000_000_000, tokenMost},
	} {
		if got := newToken("t", tc.expires, now, now); got.life.Round(time.Millisecond) != tc.life {
			t.Errorf("expiry %v: life %s, want %s", tc.expires, got.life, tc.life)
		}
	}
}

func TestTokenAnswers(t *testing.T) {
	for body, want := range map[string]string{
		`{"access_token":"a","expires_at":1.5}`:             "a",
		`{"expires_at":"1795427084.25","access_token":"a"}`: "a",
		`{"access_token":"a"}`:                              "a",
		`{"access_token":"a","expires_at":null}`:            "a",
		`{"access_token":"a","expires_at":1E400}`:           "a",
		`{"access_token":"","expires_at":1}`:                "",
		`{"access_token":null}`:                             "",
		`{"access_token":"a b"}`:                            "",
		`{"access_token":"a\r\nX: y"}`:                      "",
		`{"error":"no","access_token":"a"}`:                 "",
		`null`:                                              "",
		`[]`:                                                "",
		``:                                                  "",
	} {
		value, _, err := decodeToken([]byte(body), false)
		if want == "" && err == nil || want != "" && (err != nil || value != want) {
			t.Errorf("%s: %q, %v", body, value, err)
		}
	}
}

func TestALate401DoesNotCostTheTokenThatTookItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(func(r *http.Request, call int) (*http.Response, error) {
			if r.Header.Get("Authorization") == "Bearer access-token-number-1" {
				time.Sleep(time.Duration(call) * time.Second) // of the bubble's time
				return reply(401, ""), nil
			}
			return reply(200, `{"objects":[]}`), nil
		})
		c := newClient(t, a)
		sideBySide(t, 5, func(int) {
			if _, err := c.Item(t.Context(), "alerts", "1"); err != nil {
				t.Error(err)
			}
		})
		if a.tokens != 2 {
			t.Errorf("%d tokens, want 2", a.tokens)
		}
	})
}
