package threatmatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

func newTwin(t *testing.T, change ...func(*threatmatchtest.Config)) (*threatmatchtest.Server, *Client) {
	t.Helper()
	folder := &threatmatchtest.Folder{}
	when := time.Date(2025, 4, 17, 15, 24, 0, 0, time.UTC)
	for id := range int64(3) {
		if err := folder.Put("alerts", 10-id, when, []byte(`[{"id":"report--1","z":1E400,"a":90071992547409931}]`)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 5 {
		object := fmt.Sprintf(`{"type":"indicator","id":"indicator--%d","modified":"2025-04-17T15:24:0%d.000Z"}`, i, i)
		if err := folder.PutIndicator([]byte(object)); err != nil {
			t.Fatal(err)
		}
	}
	cfg := threatmatchtest.Config{Data: folder, PageSize: 3, ClientID: clientID, ClientSecret: secret}
	for _, c := range change {
		c(&cfg)
	}
	server := threatmatchtest.New(cfg)
	c := newClient(t, nil, func(cfg *Config) {
		cfg.URL = serve(t, server) + "/"
		cfg.Backoff.Min = time.Millisecond
		cfg.Backoff.Max = 5 * time.Millisecond
	})
	t.Cleanup(c.CloseIdle)
	return server, c
}

func TestEveryCallIsUnderstoodByTheAPI(t *testing.T) {
	_, c := newTwin(t)
	ids, err := c.List(t.Context(), "alerts", time.Date(2025, 4, 17, 15, 24, 59, 0, time.UTC))
	if err != nil || !slices.Equal(ids, []string{"8", "9", "10"}) {
		t.Fatalf("list: %v %v", ids, err)
	}
	item, err := c.Item(t.Context(), "alerts", "10")
	if want := `[{"id":"report--1","z":1E400,"a":90071992547409931}]`; err != nil || string(item.Objects) != want || !item.Strict {
		t.Errorf("item: %s %v %v", item.Objects, item.Strict, err)
	}
	if _, err := c.Item(t.Context(), "alerts", "../11"); !IsNotFound(err) {
		t.Errorf("an item that does not exist: %v", err)
	}
	groups, err := c.Groups(t.Context())
	if err != nil || len(groups) != 2 {
		t.Fatalf("groups: %v %v", groups, err)
	}
	i := slices.IndexFunc(groups, func(g Group) bool { return g.Name == "All content" })
	page, err := c.Indicators(t.Context(), groups[i].ID, "2025-04-17T15:24:00.000Z")
	if err != nil || !page.More || len(page.Objects) != 3 {
		t.Errorf("indicators: %v %v", page, err)
	}
}

func TestFaultsOfTheConnectionAreMadeGood(t *testing.T) {
	for name, fault := range map[string]threatmatchtest.Fault{
		"reset": threatmatchtest.Reset(), "truncated": threatmatchtest.Truncated(20), "HTML": threatmatchtest.HTML(),
		"error body": threatmatchtest.ErrorBody(), "429": threatmatchtest.RetryAfter("0"), "empty": threatmatchtest.Body(""),
		"null": threatmatchtest.Body("null"), "401": threatmatchtest.Unauthorized(), "502": threatmatchtest.Status(502),
	} {
		t.Run(name, func(t *testing.T) {
			server, c := newTwin(t)
			server.Fault(threatmatchtest.Rule{Path: "/api/stix/*", From: 1, To: 1, Do: fault})
			server.Fault(threatmatchtest.Rule{Path: "/api/alerts/*", From: 1, To: 1, Do: fault})
			if _, err := c.Item(t.Context(), "alerts", "10"); err != nil {
				t.Errorf("item: %v", err)
			}
			if ids, err := c.List(t.Context(), "alerts", time.Time{}); err != nil || len(ids) != 3 {
				t.Errorf("list: %v %v", ids, err)
			}
		})
	}
}

func TestAnEndlessAnswerEndsAtTheLimitAndIsNotRetried(t *testing.T) {
	for name, fault := range map[string]threatmatchtest.Fault{
		"plain": threatmatchtest.Endless(), "gzip": threatmatchtest.EndlessGzip(),
	} {
		t.Run(name, func(t *testing.T) {
			server, c := newTwin(t)
			c.cfg.MaxBody = 3 << 20
			server.Fault(threatmatchtest.Rule{Path: "/api/stix/*", Do: fault})
			_, err := c.Item(t.Context(), "alerts", "10")
			if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "/api/stix/alerts/10") {
				t.Errorf("got %v", err)
			}
			if n := server.Count("/api/stix/*"); n != 1 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

// TestWhatIsNoSuccessIsAFailure also says how often each is tried, and that no error shows a secret.
func TestWhatIsNoSuccessIsAFailure(t *testing.T) {
	echo := `you sent ` + secret + ` and access-token-number-1 for ` + clientID
	for _, tc := range []struct {
		name     string
		status   int
		body     string
		header   []string
		attempts int
		says     string
	}{
		{"bad request", 400, echo, nil, 1, "400"},
		{"forbidden", 403, echo, nil, 1, "ask ThreatMatch for the right"},
		{"not found", 404, echo, nil, 1, "404"},
		{"not implemented", 501, echo, nil, 1, "501"},
		{"request timeout", 408, echo, nil, 5, "408"},
		{"too many", 429, echo, nil, 5, "THREATMATCH_RATE_LIMIT"},
		{"server error", 500, echo, nil, 5, "500"},
		{"bad gateway", 502, "<html>" + echo, nil, 6, "502"},
		{"unavailable", 503, "", nil, 6, "503"},
		{"gateway timeout", 504, "", nil, 6, "504"},
		{"html", 200, "<!doctype html><p>" + echo, nil, 6, "HTML"},
		{"empty", 200, "", nil, 5, "empty"},
		{"blank", 200, " \n", nil, 5, "empty"},
		{"cut", 200, `{"objects":[{"a":1}`, nil, 5, "not JSON"},
		{"trailing", 200, `{"objects":[]}]`, nil, 5, "not JSON"},
		{"two answers", 200, `{"objects":[]}{"objects":[]}`, nil, 5, "not JSON"},
		{"null", 200, "null", nil, 3, "null"},
		{"array", 200, "[]", nil, 3, "array"},
		{"no member", 200, `{"object":[]}`, nil, 3, "no objects"},
		{"null member", 200, `{"objects":null}`, nil, 3, "null"},
		{"object member", 200, `{"objects":{}}`, nil, 3, "an object"},
		{"error", 200, `{"error":"` + echo + `"}`, nil, 3, "holds an error"},
		{"error beside data", 200, `{"objects":[],"error":{"code":5}}`, nil, 3, "holds an error"},
		{"no content", 204, "", nil, 5, "empty"},
		{"not gzip", 200, `{"objects":[]}`, []string{"Content-Encoding", "gzip"}, 5, "compressed"},
		{"unknown encoding", 200, `{"objects":[]}`, []string{"Content-Encoding", "br"}, 5, "br"},
		{"redirect elsewhere", 302, "", []string{"Location", "https://elsewhere.test/login?x=" + secret}, 2, "another server"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAPI(always(tc.status, tc.body, tc.header...))
				_, err := newClient(t, a).Item(t.Context(), "alerts", "7")
				e := asError(t, err)
				if a.calls != tc.attempts || e.Attempts != tc.attempts {
					t.Errorf("%d calls, error says %d, want %d", a.calls, e.Attempts, tc.attempts)
				}
				if !strings.Contains(e.Error(), tc.says) || !strings.Contains(e.Error(), "/api/stix/alerts/7") {
					t.Errorf("error %q does not say %q and the path", e, tc.says)
				}
				if len(e.Detail) > quotedBody+100 {
					t.Errorf("error quotes %d bytes", len(e.Detail))
				}
				mustNotLeak(t, e.Error())
			})
		})
	}
}

func TestALostConnectionIsRetriedAndItsErrorShowsNoSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, began := 0, time.Now()
		c := newClient(t, transportFunc(func(*http.Request) (*http.Response, error) {
			calls++
			return nil, errors.New("proxyconnect https://user:password@proxy.test: refused " + secret)
		}))
		_, err := c.Groups(t.Context())
		if took := time.Since(began); calls < 5 || took > defaultPatience+time.Minute {
			t.Errorf("%d calls in %s", calls, took)
		}
		if e := asError(t, err); !IsAway(err) || !e.Temporary || !strings.Contains(e.Error(), "check THREATMATCH_URL") {
			t.Errorf("got %v", e)
		}
		mustNotLeak(t, err.Error())
	})
}

func TestAnEmptyItemIsAnItem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, body := range []string{`{"objects":[]}`, "\xef\xbb\xbf" + `{"error":null,"objects":[ ]}`} {
			item, err := newClient(t, newAPI(always(200, body))).Item(t.Context(), "alerts", "1")
			if err != nil || !json.Valid(item.Objects) || item.Objects[0] != '[' {
				t.Errorf("%s: %s %v", body, item.Objects, err)
			}
		}
	})
}

func TestIrregularJSONIsReadLenientlyAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, body := range []string{`{"objects":[{"a":1,"a":2}]}`, "{\"objects\":[\"\xff\"]}"} {
			c := newClient(t, newAPI(always(200, body)))
			item, err := c.Item(t.Context(), "alerts", "1")
			if err != nil || !strings.Contains(body, string(item.Objects)) || item.Strict || c.Irregular() != 1 {
				t.Errorf("%q: %q %v %v, %d irregular", body, item.Objects, item.Strict, err, c.Irregular())
			}
		}
	})
}

func TestEveryWaitEnds(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer func(*http.Request, int) (*http.Response, error)
		within time.Duration
		times  time.Duration // attempts
		cause  error
	}{
		{"no answer", func(r *http.Request, _ int) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}, 80 * time.Second, 3, errNoAnswer},
		{"a body that stalls", body(time.Hour, 1), 30 * time.Second, 3, errStalled},
		{"a body that trickles", body(time.Second, 1), 30 * time.Second, 3, errStalled},
		{"a body that never ends", body(time.Second, 1000), 5 * time.Minute, 2, errTooSlow},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClient(t, newAPI(tc.answer), func(cfg *Config) { cfg.Attempts = 2; cfg.Backoff.Min = time.Millisecond })
				begin := time.Now()
				_, err := c.Item(t.Context(), "alerts", "1")
				if !errors.Is(err, tc.cause) {
					t.Errorf("got %v, want %v", err, tc.cause)
				}
				if took := time.Since(begin); took < tc.times*tc.within || took > tc.times*tc.within+time.Second {
					t.Errorf("it took %s, want %d times %s", took, tc.times, tc.within)
				}
			})
		})
	}
}

func body(interval time.Duration, n int) func(*http.Request, int) (*http.Response, error) {
	return func(r *http.Request, _ int) (*http.Response, error) {
		resp := reply(200, "")
		resp.ContentLength = -1
		resp.Body = &slowBody{ctx: r.Context(), piece: []byte(repeatByte(' ', n)), interval: interval}
		return resp, nil
	}
}

func TestASlowButSteadyAnswerArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := `{"objects":[` + repeatByte(' ', 20_000) + `]}`
		c := newClient(t, newAPI(func(r *http.Request, _ int) (*http.Response, error) {
			resp := reply(200, "")
			resp.Body = &steadyBody{rest: text}
			resp.ContentLength = int64(len(text))
			return resp, nil
		}))
		if _, err := c.Item(t.Context(), "alerts", "1"); err != nil {
			t.Error(err)
		}
	})
}

// steadyBody brings a hundred bytes a second.
type steadyBody struct{ rest string }

func (b *steadyBody) Read(p []byte) (int, error) {
	if b.rest == "" {
		return 0, io.EOF
	}
	time.Sleep(time.Second) // of the bubble's time
	n := copy(p, b.rest[:min(100, len(b.rest))])
	b.rest = b.rest[n:]
	return n, nil
}

func (b *steadyBody) Close() error { return nil }

func TestTheEndOfTheContextEndsEveryWait(t *testing.T) {
	for name, answer := range map[string]func(*http.Request, int) (*http.Response, error){
		"in an answer": body(time.Second, 1000), "in a backoff": always(503, "", "Retry-After", "50"),
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			begin := time.Now()
			_, err := newClient(t, newAPI(answer)).Item(ctx, "alerts", "1")
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 10*time.Second {
				t.Errorf("%s: %v after %s", name, err, time.Since(begin))
			}
		})
	}
}

func TestRetryAfterIsObeyedUpToACap(t *testing.T) {
	date := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	for _, tc := range []struct {
		value       string
		least, most time.Duration
	}{
		{"1", time.Second, 2 * time.Second},
		{" 7 ", 7 * time.Second, 8 * time.Second},
		{"0", 0, time.Second},
		{"-5", 0, time.Second},
		{"soon", 0, time.Second},
		{"NaN", 0, time.Second},
		{"1e999", 0, 61 * time.Second},
		{"86400", time.Minute, 61 * time.Second},
		{"10000000000", time.Minute, 61 * time.Second},
		{"99999999999999999999999", time.Minute, 61 * time.Second},
		{"date 20", 19 * time.Second, 21 * time.Second},
		{"date -20", 0, time.Second},
		{"date 100000", time.Minute, 61 * time.Second},
	} {
		t.Run(tc.value, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				value := tc.value
				var seconds int
				if n, _ := fmt.Sscanf(value, "date %d", &seconds); n == 1 {
					value = date(time.Duration(seconds) * time.Second)
				}
				a := newAPI(func(_ *http.Request, call int) (*http.Response, error) {
					if call == 1 {
						return reply(429, "", "Retry-After", value), nil
					}
					return reply(200, `{"objects":[]}`), nil
				})
				// Only the server's clock counts for a date.
				c := newClient(t, a, func(cfg *Config) { cfg.Now = func() time.Time { return time.Now().Add(time.Hour) } })
				begin := time.Now()
				if _, err := c.Item(t.Context(), "alerts", "1"); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begin); took < tc.least || took > tc.most {
					t.Errorf("waited %s, want %s to %s", took, tc.least, tc.most)
				}
			})
		})
	}
}

func TestAttemptsThatFailAreSpacedFurtherAndFurther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		a := newAPI(func(*http.Request, int) (*http.Response, error) {
			at = append(at, time.Now())
			return reply(503, ""), nil
		})
		c := newClient(t, a, func(cfg *Config) { cfg.Backoff.Jitter = func() float64 { return 0 }; cfg.Attempts = 8 })
		if _, err := c.Item(t.Context(), "alerts", "1"); err == nil {
			t.Fatal("no error")
		}
		for i, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
			if got := at[i+1].Sub(at[i]); got != want*time.Second {
				t.Errorf("attempt %d came %s after the one before, want %ds", i+2, got, want)
			}
		}
	})
}

func TestNowIsNeverAheadOfTheServer(t *testing.T) {
	for _, skew := range []time.Duration{0, 5 * time.Minute, -5 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(700 * time.Millisecond) // off the full second
			a := newAPI(always(200, `[]`))
			c := newClient(t, a, func(cfg *Config) { cfg.Now = func() time.Time { return time.Now().Add(skew) } })
			if _, err := c.Groups(t.Context()); err != nil {
				t.Fatal(err)
			}
			behind := time.Since(c.Now())
			if behind < time.Second || skew >= 0 && behind > 2*time.Second {
				t.Errorf("skew %s: Now is %s behind the server", skew, behind)
			}
		})
	}
}

func TestDateSinceIsUTCToTheMinuteBefore(t *testing.T) {
	var query string
	c := newClient(t, newAPI(func(r *http.Request, _ int) (*http.Response, error) {
		query = r.URL.RawQuery
		return reply(200, `{"list":[]}`), nil
	}))
	since := time.Date(2025, 4, 17, 17, 24, 59, 999, time.FixedZone("", 2*3600))
	if ids, err := c.List(t.Context(), "alerts", since); err != nil || len(ids) != 0 {
		t.Fatal(ids, err)
	}
	if query != "date_since=2025-04-17+15%3A24&mode=compact" {
		t.Error(query)
	}
}

func TestIDsAreOneSegmentOfThePath(t *testing.T) {
	for id, want := range map[string]string{
		"12": "12", "a/b": "a%2Fb", "..": "%2E%2E", ".": "%2E", "a b?c#d%": "a%20b%3Fc%23d%25", "é": "%C3%A9",
	} {
		var path string
		c := newClient(t, newAPI(func(r *http.Request, _ int) (*http.Response, error) {
			path = r.URL.EscapedPath()
			return reply(200, `{"objects":[]}`), nil
		}))
		if _, err := c.Item(t.Context(), "alerts", id); err != nil || path != "/api/stix/alerts/"+want {
			t.Errorf("%q: %s %v", id, path, err)
		}
	}
}

func TestListsOfEveryKind(t *testing.T) {
	for body, want := range map[string][]string{
		`{"list":[]}`:                                             {},
		`{"list":[10,9,"9",11,"abc","x/y",9]}`:                    {"9", "10", "11", "abc", "x/y"},
		`{"n":1,"list":[9007199254740993],"m":2}`:                 {"9007199254740993"},
		`{"list":["007","7",7]}`:                                  {"007", "7"},
		`{"list":[1,null,{"a":[2]},3]}`:                           {"1", "3"},
		`{"list":["",true]}`:                                      {},
		`{"list":[[1],2]}`:                                        {"2"},
		`{"list":["` + strings.Repeat("x", longestID+1) + `",2]}`: {"2"},
		`{"list":null}`:                                           nil,
		`{"list":"1"}`:                                            nil,
	} {
		list, err := decodeList([]byte(body), false)
		if want == nil && err == nil || want != nil && (err != nil || !slices.Equal(list.ids, want)) {
			t.Errorf("%s: %v %v", body, list, err)
		}
	}
}

func TestAMillionIDsAreRead(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"list":[0`)
	for i := 1_000_000; i > 0; i-- {
		fmt.Fprintf(&b, ",%d", i)
	}
	b.WriteString("]}")
	list, err := decodeList([]byte(b.String()), false)
	ids := list.ids
	if err != nil || len(ids) != 1_000_001 || ids[0] != "0" || ids[1_000_000] != "1000000" {
		t.Error(len(ids), err)
	}
}

func TestCompressedAnswersAreRead(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "gzip" {
			t.Errorf("Accept-Encoding %q", r.Header.Get("Accept-Encoding"))
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		defer z.Close()
		if strings.HasSuffix(r.URL.Path, "/token") {
			fmt.Fprint(z, `{"access_token":"t","expires_at":9e9}`)
			return
		}
		fmt.Fprint(z, `[{"id":7,"name":"All content"},{"name":null}]`)
	}))
	defer server.Close()
	c := newClient(t, nil, func(cfg *Config) { cfg.URL = server.URL })
	defer c.CloseIdle()
	groups, err := c.Groups(t.Context())
	if err != nil || len(groups) != 2 || groups[0] != (Group{"7", "All content"}) {
		t.Error(groups, err)
	}
}

func TestABadConfigurationIsRefusedWithoutQuotingIt(t *testing.T) {
	good := Config{URL: "https://a.test", ClientID: "i", ClientSecret: "s"}
	for _, change := range []func(*Config){
		func(c *Config) { c.URL = "user:password@a.test" }, func(c *Config) { c.URL = "ftp://user:password@a.test" },
		func(c *Config) { c.URL = "https://user:pass word@a.test:x" }, func(c *Config) { c.ClientID = "" },
		func(c *Config) { c.ClientSecret = "" }, func(c *Config) { c.RatePerSecond = -1 },
	} {
		cfg := good
		change(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		} else {
			mustNotLeak(t, err.Error())
		}
	}
}

func TestAnAnswerMayBeAsLargeAsTheLimit(t *testing.T) {
	for _, limit := range []int{1000, pooledBuffer + 1000, 3 * pooledBuffer} {
		for size, fits := range map[int]bool{limit: true, limit + 1: false, limit + 1<<20: false} {
			mayBeAsLarge(t, limit, size, fits)
		}
	}
}

func mayBeAsLarge(t *testing.T, limit, size int, fits bool) {
	t.Helper()
	for _, length := range []int64{-1, int64(size)} {
		c := newClient(t, newAPI(func(*http.Request, int) (*http.Response, error) {
			resp := reply(200, `{"objects":[`+repeatByte(' ', size-14)+`]}`)
			resp.ContentLength = length
			return resp, nil
		}), func(cfg *Config) { cfg.MaxBody = int64(limit) })
		_, err := c.Item(t.Context(), "alerts", "1")
		if fits && err != nil || !fits && !errors.Is(err, ErrTooLarge) {
			t.Errorf("%d bytes, announced as %d: %v", size, length, err)
		}
	}
}

// countingBody repeats a byte without end and counts what is read of it.
type countingBody struct {
	of   byte
	read int
}

func (b *countingBody) Read(p []byte) (int, error) {
	b.read += len(p)
	for i := range p {
		p[i] = b.of
	}
	return len(p), nil
}

func (b *countingBody) Close() error { return nil }

func TestAnEndlessAnswerIsNotReadPastTheLimit(t *testing.T) {
	endless := &countingBody{of: '['}
	c := newClient(t, newAPI(func(*http.Request, int) (*http.Response, error) {
		resp := reply(200, "")
		resp.ContentLength, resp.Body = -1, endless
		return resp, nil
	}), func(cfg *Config) { cfg.MaxBody = 10_000 })
	if _, err := c.Item(t.Context(), "alerts", "1"); !errors.Is(err, ErrTooLarge) || endless.read > 10_001 {
		t.Errorf("read %d bytes: %v", endless.read, err)
	}
}
