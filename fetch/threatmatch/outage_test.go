package threatmatch

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// downs are the ways in which an API that is away shows itself.
var downs = map[string]func() (*http.Response, error){
	"refused": func() (*http.Response, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	},
	"reset": func() (*http.Response, error) {
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	},
	"no such host":      func() (*http.Response, error) { return nil, &net.DNSError{Err: "no such host", IsNotFound: true} },
	"unknown authority": func() (*http.Response, error) { return nil, x509.UnknownAuthorityError{} },
	"TLS to plain port": func() (*http.Response, error) { return nil, http.ErrSchemeMismatch },
	"page":              func() (*http.Response, error) { return reply(200, "<html><title>Welcome</title></html>"), nil },
	"page not found":    func() (*http.Response, error) { return reply(404, "<html><title>404</title></html>"), nil },
	"page not allowed":  func() (*http.Response, error) { return reply(403, "<html><title>Denied</title></html>"), nil },
	"bad gateway":       func() (*http.Response, error) { return reply(502, "<html><h1>Bad Gateway</h1></html>"), nil },
	"unavailable":       func() (*http.Response, error) { return reply(503, ""), nil },
	"gateway timeout":   func() (*http.Response, error) { return reply(504, ""), nil },
	"origin is down":    func() (*http.Response, error) { return reply(521, "<html><title>521</title></html>"), nil },
}

// newAway is an API that is away until a time has passed; after that it has every item.
func newAway(down func() (*http.Response, error), lasts time.Duration) (http.RoundTripper, *atomic.Int64) {
	back, requests := time.Now().Add(lasts), new(atomic.Int64)
	a := newAPI(always(200, `{"objects":[]}`))
	return transportFunc(func(r *http.Request) (*http.Response, error) {
		requests.Add(1)
		if time.Now().Before(back) {
			return down()
		}
		return a.RoundTrip(r)
	}), requests
}

// TestAnOutageIsWaitedOut lets many calls meet an API that is away, from seconds to hours: all of them succeed soon after it is
// back, and meanwhile it is asked seldom.
func TestAnOutageIsWaitedOut(t *testing.T) {
	for name, down := range downs {
		for _, lasts := range []time.Duration{10 * time.Second, 10 * time.Minute, 20 * time.Hour} {
			t.Run(fmt.Sprintf("%s for %s", name, lasts), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					core, lines := observer.New(zapcore.ErrorLevel)
					api, requests := newAway(down, lasts)
					c := newClient(t, api, func(cfg *Config) { cfg.Patience, cfg.Log = 24*time.Hour, zap.New(core) })
					began := time.Now()
					sideBySide(t, 16, func(worker int) {
						for i := range 10 {
							if _, err := c.Item(t.Context(), "alerts", fmt.Sprint(worker, i)); err != nil {
								t.Errorf("after %s: %v", time.Since(began), err)
							}
						}
					})
					if took := time.Since(began); took < lasts || took > lasts+2*time.Minute {
						t.Errorf("the calls took %s", took)
					}
					if most := int64(16*5 + 16*10 + 50 + lasts/(20*time.Second)); requests.Load() > most {
						t.Errorf("%d requests, want %d at most", requests.Load(), most)
					}
					told := lines.All()
					if n := len(told); n != 2 && (n > 0 || lasts > time.Minute) {
						t.Errorf("told %d times: %v", n, told)
					}
				})
			})
		}
	}
}

// TestAPartThatIsAwayHoldsUpNobodyElse lets a part of the API stay away, from the beginning or once all of it was: what is asked of
// the rest is answered meanwhile.
func TestAPartThatIsAwayHoldsUpNobodyElse(t *testing.T) {
	for _, of := range []struct{ part, path string }{{"indicators", "/api/taxii/"}, {"profiles", "/profiles/"}} {
		for _, all := range []time.Duration{0, 25 * time.Second} {
			t.Run(fmt.Sprintf("%s, all for %s", of.part, all), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					core, lines := observer.New(zapcore.ErrorLevel)
					whole := newAPI(func(r *http.Request, _ int) (*http.Response, error) {
						if strings.HasSuffix(r.URL.Path, "/taxii/objects") {
							return reply(200, `{"more":false,"objects":[]}`), nil
						}
						return reply(200, `{"objects":[]}`), nil
					})
					const lasts, calls, pause = 20 * time.Minute, 120, 10 * time.Second
					began := time.Now()
					c := newClient(t, transportFunc(func(r *http.Request) (*http.Response, error) {
						since := time.Since(began)
						if since < all || since < lasts && strings.Contains(r.URL.Path, of.path) {
							return reply(503, ""), nil
						}
						return whole.RoundTrip(r)
					}), func(cfg *Config) { cfg.Patience, cfg.Alarms = 24*time.Hour, zap.New(core) })
					parts := map[string]func() error{
						"indicators": func() error { _, err := c.Indicators(t.Context(), "7", "2025-04-17T15:24:00.000Z"); return err },
						"profiles":   func() error { _, err := c.Item(t.Context(), "profiles", "1"); return err },
						"alerts":     func() error { _, err := c.Item(t.Context(), "alerts", "1"); return err },
					}
					var done sync.WaitGroup
					for part, call := range parts {
						done.Go(func() {
							for range calls {
								time.Sleep(pause)
								if err := call(); err != nil {
									t.Errorf("%s: %v", part, err)
								}
							}
							if took := time.Since(began); part != of.part && took > all+calls*pause+2*time.Minute || part == of.part && took < lasts {
								t.Errorf("%s took %s", part, took)
							}
						})
					}
					done.Wait()
					var told []string
					for _, line := range lines.All() {
						if !strings.Contains(line.Message, of.part) {
							continue
						}
						if after := line.Time.Sub(began.Add(pause)); len(told) == 0 && all == 0 && after > 70*time.Second {
							t.Errorf("it was told of after %s", after)
						}
						told = append(told, line.Message)
					}
					if len(told) != 2 || !strings.Contains(told[0], "does not answer") || !strings.Contains(told[1], "answers again") {
						t.Errorf("told %q", told)
					}
				})
			})
		}
	}
}

// TestACallThatMeetsAKnownOutageSavesItsAttempts lets an item be asked for as an outage is about to be found.
func TestACallThatMeetsAKnownOutageSavesItsAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lasts = 10 * time.Minute
		began, late := time.Now(), new(atomic.Int64)
		whole := newAPI(always(200, `{"objects":[]}`))
		var c *Client
		var calls sync.WaitGroup
		ask := func(id string) {
			if _, err := c.Item(t.Context(), "alerts", id); err != nil {
				t.Error(err)
			}
		}
		var once sync.Once
		c = newClient(t, transportFunc(func(r *http.Request) (*http.Response, error) {
			if time.Since(began) > lasts || strings.HasSuffix(r.URL.Path, "/token") {
				return whole.RoundTrip(r)
			}
			if littleAsked(r) != "" { // this is how it is found
				once.Do(func() { calls.Go(func() { ask("late") }) })
				time.Sleep(time.Second)
			}
			if strings.HasSuffix(r.URL.Path, "/late") {
				late.Add(1)
				time.Sleep(2 * time.Second)
			}
			return reply(503, ""), nil
		}), func(cfg *Config) { cfg.Patience = time.Hour })
		calls.Go(func() { ask("early") })
		calls.Wait()
		if n := late.Load(); n != 1 {
			t.Errorf("the item was asked for %d times during the outage", n)
		}
	})
}

// TestAnOutageThatOutlastsThePatienceIsNoVerdictOnWhatWasAskedFor lets a run wait once, and the next one anew.
func TestAnOutageThatOutlastsThePatienceIsNoVerdictOnWhatWasAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, lines := observer.New(zapcore.ErrorLevel)
		api, _ := newAway(downs["unavailable"], 25*time.Minute)
		c := newClient(t, api, func(cfg *Config) { cfg.Log = zap.New(core) })
		for i, step := range []struct {
			begins, succeeds bool
			longest          time.Duration
			told             int
		}{
			{true, false, defaultPatience + 2*time.Minute, 1},
			{false, false, time.Minute, 1},
			{false, false, time.Minute, 1},
			{true, true, 12 * time.Minute, 2},
			{false, true, time.Second, 2},
		} {
			if step.begins {
				c.BeginRun()
			}
			began := time.Now()
			sideBySide(t, 16, func(int) {
				_, err := c.Item(t.Context(), "alerts", "1")
				if step.succeeds != (err == nil) || err != nil && (!IsAway(err) || !strings.Contains(err.Error(), "503")) {
					t.Errorf("step %d, after %s: %v", i, time.Since(began), err)
				}
			})
			if took := time.Since(began); took > step.longest || lines.Len() != step.told {
				t.Errorf("step %d: the calls took %s, told %d times", i, took, lines.Len())
			}
		}
	})
}

func TestAnItemThatIsAlwaysDownCostsItselfWhileTheAPIIsThere(t *testing.T) {
	for name, down := range downs {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAPI(func(r *http.Request, _ int) (*http.Response, error) {
					if strings.HasSuffix(r.URL.Path, "/7") {
						return down()
					}
					return reply(200, `{"objects":[]}`), nil
				})
				c := newClient(t, a)
				began := time.Now()
				var others sync.WaitGroup
				others.Go(func() {
					for i := range 20 {
						if _, err := c.Item(t.Context(), "alerts", fmt.Sprint("1", i)); err != nil {
							t.Error(err)
						}
						time.Sleep(time.Second)
					}
					if took := time.Since(began); took > 21*time.Second {
						t.Errorf("the others took %s", took)
					}
				})
				_, err := c.Item(t.Context(), "alerts", "7")
				if err == nil || IsAway(err) || asError(t, err).Attempts > defaultAttempts+1 {
					t.Errorf("got %v", err)
				}
				if took := time.Since(began); took > 16*time.Second { // as long as the tries of any call that fails
					t.Errorf("it took %s", took)
				}
				others.Wait()
			})
		})
	}
}

// TestWhoLeavesAnOutageLeavesItToTheOthers lets the one who asks for all be told to stop.
func TestWhoLeavesAnOutageLeavesItToTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api, _ := newAway(downs["refused"], 5*time.Minute)
		c := newClient(t, api)
		leaving, leave := context.WithCancel(t.Context())
		var calls sync.WaitGroup
		calls.Go(func() {
			if _, err := c.Item(leaving, "alerts", "1"); !errors.Is(err, context.Canceled) {
				t.Errorf("who leaves gets %v", err)
			}
		})
		time.Sleep(30 * time.Second) // it asks by now
		for range 3 {
			calls.Go(func() {
				if _, err := c.Item(t.Context(), "alerts", "2"); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(30 * time.Second)
		leave()
		calls.Wait()
	})
}

// TestAnOutageThatAllHaveLeftIsForgotten lets the only one who asks leave, and the API be there for days before it is away again:
// for a moment, and not since then.
func TestAnOutageThatAllHaveLeftIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		a := newAPI(always(200, `{"objects":[]}`))
		core, lines := observer.New(zapcore.ErrorLevel)
		c := newClient(t, transportFunc(func(r *http.Request) (*http.Response, error) {
			if down.Load() {
				return downs["unavailable"]()
			}
			return a.RoundTrip(r)
		}), func(cfg *Config) { cfg.Log, cfg.Attempts = zap.New(core), 2 })

		down.Store(true)
		leaving, leave := context.WithTimeout(t.Context(), 10*time.Second) // it asks by then, and the alarm is not due
		defer leave()
		if _, err := c.Item(leaving, "alerts", "1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("who leaves gets %v", err)
		}
		down.Store(false)
		if _, err := c.Item(t.Context(), "alerts", "1"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(72 * time.Hour)
		down.Store(true)
		time.AfterFunc(5*time.Second, func() { down.Store(false) })
		if _, err := c.Item(t.Context(), "alerts", "1"); err != nil {
			t.Errorf("an outage of seconds costs the call: %v", err)
		}
		if told := lines.All(); len(told) > 0 {
			t.Errorf("told %v", told)
		}
	})
}

// TestA429CoolsAllCallsDown lets one of many calls be told to wait: none leaves before.
func TestA429CoolsAllCallsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const asked = 30 * time.Second
		began := time.Now()
		told := time.Time{}
		a := newAPI(func(_ *http.Request, call int) (*http.Response, error) {
			switch {
			case call == 20:
				told = time.Now()
				return reply(429, "", "Retry-After", "30"), nil
			case !told.IsZero() && time.Since(told) > 0 && time.Since(told) < asked:
				t.Errorf("a call left %s after", time.Since(told))
			}
			return reply(200, `{"objects":[]}`), nil
		})
		c := newClient(t, a, func(cfg *Config) { cfg.RatePerSecond = 10 })
		sideBySide(t, 8, func(worker int) {
			for i := range 10 {
				if _, err := c.Item(t.Context(), "alerts", fmt.Sprint(worker, i)); err != nil {
					t.Error(err)
				}
			}
		})
		if took := time.Since(began); took > asked+20*time.Second {
			t.Errorf("the calls took %s", took)
		}
	})
}

// TestASilenceIsToldOfInTime is about APIs that are there and say nothing: calls hang, or are asked to come back later.
func TestASilenceIsToldOfInTime(t *testing.T) {
	for name, tt := range map[string]struct {
		silent func(r *http.Request) (*http.Response, error)
		after  time.Duration
	}{
		"hangs":          {func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }, muteAfter},
		"refuses":        {func(*http.Request) (*http.Response, error) { return downs["refused"]() }, silentAfter},
		"has had enough": {func(*http.Request) (*http.Response, error) { return reply(429, "", "Retry-After", "60"), nil }, muteAfter},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, lines := observer.New(zapcore.ErrorLevel)
				a, began := newAPI(always(200, `{"objects":[]}`)), time.Now()
				c := newClient(t, transportFunc(func(r *http.Request) (*http.Response, error) {
					if at := time.Since(began); at >= 50*time.Second && at < 4*time.Minute {
						return tt.silent(r)
					}
					return a.RoundTrip(r)
				}), func(cfg *Config) { cfg.Patience, cfg.Log, cfg.Attempts = time.Hour, zap.New(core), 10 })
				for time.Since(began) < 8*time.Minute {
					if _, err := c.Item(t.Context(), "alerts", "1"); err != nil {
						t.Fatal(err)
					}
					time.Sleep(5 * time.Second)
				}
				told := lines.All()
				if len(told) != 2 {
					t.Fatalf("told %v", told)
				}
				if at := told[0].Time.Sub(began); at < 45*time.Second+tt.after || at > 52*time.Second+tt.after {
					t.Errorf("told after %s: %v", at, told[0].ContextMap())
				}
				after, _ := told[1].ContextMap()["after"].(time.Duration)
				if at := told[1].Time.Sub(began); at < 4*time.Minute || at > 6*time.Minute || after < 3*time.Minute {
					t.Errorf("told of the end after %s: %v", at, told[1].ContextMap())
				}
			})
		})
	}
}

// TestNoSilenceIsToldOfThatIsNone is about answers that take their time: a body that comes in slowly, and a client that asks seldom.
func TestNoSilenceIsToldOfThatIsNone(t *testing.T) {
	body := `{"objects":[` + strings.Repeat(" ", 20_000) + `]}`
	for name, c := range map[string]struct {
		answer func(*http.Request, int) (*http.Response, error)
		rate   float64
	}{
		"a slow body": {func(*http.Request, int) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, ContentLength: int64(len(body)), Body: &steadyBody{rest: body}}, nil
		}, 0},
		"a low rate": {always(200, `{"objects":[]}`), 0.01},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, lines := observer.New(zapcore.ErrorLevel)
				client := newClient(t, newAPI(c.answer), func(cfg *Config) { cfg.Log, cfg.RatePerSecond = zap.New(core), c.rate })
				began := time.Now()
				for range 3 {
					if _, err := client.Item(t.Context(), "alerts", "1"); err != nil {
						t.Fatal(err)
					}
				}
				if lines.Len() > 0 || time.Since(began) < 2*time.Minute {
					t.Errorf("told %v in %s", lines.All(), time.Since(began))
				}
			})
		})
	}
}

// TestATokenIsNoEndOfASilence lets all but the questions for tokens hang, and tokens end within it.
func TestATokenIsNoEndOfASilence(t *testing.T) {
	for _, life := range []time.Duration{50 * time.Second, 2 * time.Minute, time.Hour} {
		t.Run(life.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, lines := observer.New(zapcore.ErrorLevel)
				a, began := newAPI(always(200, `{"objects":[]}`)), time.Now()
				a.life = life
				c := newClient(t, transportFunc(func(r *http.Request) (*http.Response, error) {
					if at := time.Since(began); !strings.HasSuffix(r.URL.Path, "/token") && at >= 10*time.Second && at < 30*time.Minute {
						<-r.Context().Done()
						return nil, r.Context().Err()
					}
					return a.RoundTrip(r)
				}), func(cfg *Config) { cfg.Log, cfg.Patience, cfg.Attempts = zap.New(core), time.Hour, 10 })
				for time.Since(began) < 35*time.Minute {
					if _, err := c.Item(t.Context(), "alerts", "1"); err != nil {
						t.Fatal(err)
					}
					time.Sleep(5 * time.Second)
				}
				told := lines.All()
				if len(told) != 2 || told[0].Time.Sub(began) > 2*time.Minute || told[1].Time.Sub(began) < 30*time.Minute {
					t.Errorf("told %v", told)
				}
			})
		})
	}
}

// TestOnlyAnAnswerEndsWhatIsToldOfAPart lets a part be away for longer than a run waits, and another run begin.
func TestOnlyAnAnswerEndsWhatIsToldOfAPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, lines := observer.New(zapcore.ErrorLevel)
		whole := newAPI(always(200, `{"objects":[]}`))
		c := newClient(t, transportFunc(func(r *http.Request) (*http.Response, error) {
			if strings.Contains(r.URL.Path, "/taxii/") {
				return reply(503, ""), nil
			}
			return whole.RoundTrip(r)
		}), func(cfg *Config) { cfg.Patience, cfg.Alarms = 10*time.Minute, zap.New(core) })
		var rest sync.WaitGroup
		rest.Go(func() {
			for range 200 {
				time.Sleep(5 * time.Second)
				if _, err := c.Item(t.Context(), "alerts", "1"); err != nil {
					t.Error(err)
				}
			}
		})
		for range 2 {
			c.BeginRun()
			if _, err := c.Groups(t.Context()); !IsAway(err) {
				t.Error(err)
			}
		}
		rest.Wait()
		told := 0
		for _, line := range lines.All() {
			if strings.Contains(line.Message, "answers again") {
				t.Errorf("nobody has answered, but: %s", line.Message)
			} else if strings.Contains(line.Message, "indicators") {
				told++
			}
		}
		if told == 0 {
			t.Error("nothing is told of the part")
		}
		if c.Figures().Silent {
			t.Error("nobody waits, but the API counts as silent")
		}
	})
}
