package threatmatchtest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhatTheAPIWouldNotTakeIsRefused(t *testing.T) {
	s := New(Config{Data: Generate(Shape{Profiles: 2, Indicators: 2})})
	s.tokens.issue(time.Now(), time.Now().Add(time.Hour))
	const list = "/api/profiles/all?mode=compact&date_since=2026-01-01+00%3A00"
	const objects = "/api/taxii/objects?groupId=9000&stixTypeName=indicator&modifiedAfter="
	ok := http.Header{"Authorization": {"Bearer sandbox-token-1"}, "Accept": {"text/plain, application/json"}}
	for _, test := range []struct {
		method, target string
		header         http.Header
		want           int
	}{
		{"GET", list, ok, 200},
		{"POST", list, ok, 405},
		{"GET", list, http.Header{"Accept": {"application/json"}}, 401},
		{"GET", list, http.Header{"Accept": {"application/json"}, "Authorization": {"sandbox-token-1"}}, 401},
		{"GET", list, http.Header{"Accept": {"application/json"}, "Authorization": {"Bearer sandbox-token-2"}}, 401},
		{"GET", list, http.Header{"Accept": {"*/*"}, "Authorization": {"Bearer sandbox-token-1"}}, 406},
		{"GET", "/api/profiles/all?date_since=2026-01-01+00%3A00", ok, 400},
		{"GET", "/api/profiles/all?mode=full&date_since=2026-01-01+00%3A00", ok, 400},
		{"GET", "/api/profiles/all?mode=compact", ok, 400},
		{"GET", "/api/profiles/all?mode=compact&date_since=2026-01-01T00%3A00", ok, 400},
		{"GET", "/api/profiles/all?mode=compact&date_since=2026-01-01+00%3A00%3A00", ok, 400},
		{"GET", "/api/profiles/all?mode=compact&date_since=2026-01-01+00%3A00&date_since=2026-01-01+00%3A00", ok, 400},
		{"GET", "/api/profiles/all?mode=compact&date_since=%zz", ok, 400},
		{"GET", "/api/campaigns/all?mode=compact&date_since=2026-01-01+00%3A00", ok, 404},
		{"GET", "/profiles/all?mode=compact&date_since=2026-01-01+00%3A00", ok, 404},
		{"GET", "/api//profiles/all?mode=compact&date_since=2026-01-01+00%3A00", ok, 404},
		{"GET", "/api/stix/profiles/10000", ok, 200},
		{"GET", "/api/stix/profiles/10002", ok, 404},
		{"GET", "/api/stix/profiles/9999", ok, 404},
		{"GET", "/api/stix/profiles/x%2Fy", ok, 404},
		{"GET", "/api/stix/profiles/10000/", ok, 404},
		{"GET", "/api/stix/alerts/10000", ok, 404},
		{"GET", "/api/taxii/groups", ok, 200},
		{"GET", objects + "2026-01-01T00:00:00.000Z", ok, 200},
		{"GET", objects + "2026-01-01T00:00:00.000000Z", ok, 200},
		{"GET", objects + "2026-01-01T00:00:00Z", ok, 200},
		{"GET", objects + "2026-01-01T00:00:00.000%2B00:00", ok, 400},
		{"GET", objects + "2026-01-01", ok, 400},
		{"GET", objects, ok, 400},
		{"GET", "/api/taxii/objects?groupId=9000&stixTypeName=malware&modifiedAfter=2026-01-01T00:00:00.000Z", ok, 400},
		{"GET", "/api/taxii/objects?groupId=1&stixTypeName=indicator&modifiedAfter=2026-01-01T00:00:00.000Z", ok, 400},
		{"GET", "/api/taxii/objects?stixTypeName=indicator&modifiedAfter=2026-01-01T00:00:00.000Z", ok, 400},
		{"GET", "/api/developers-platform/token", ok, 405},
	} {
		r := httptest.NewRequest(test.method, test.target, nil)
		r.Header = test.header
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != test.want {
			t.Errorf("%s %s: %d, want %d", test.method, test.target, w.Code, test.want)
		}
		if refused := strings.HasPrefix(w.Body.String(), `{"error":`); refused != (test.want >= 400) {
			t.Errorf("%s %s: %d with %s", test.method, test.target, w.Code, w.Body)
		}
	}
}

func TestATokenIsGivenForTheRightCredentialsAlone(t *testing.T) {
	s := New(Config{Data: new(Folder), ClientID: "me", ClientSecret: "mine"})
	for _, test := range []struct {
		kind, body string
		want       int
	}{
		{"application/json", `{"client_id":"me","client_secret":"mine"}`, 200},
		{"application/json; charset=utf-8", `{"client_id":"me","client_secret":"mine"}`, 200},
		{"application/json", `{"client_id":"me","client_secret":"yours"}`, 401},
		{"application/json", `{"client_id":"you","client_secret":"mine"}`, 401},
		{"application/json", `{"client_id":"me"}`, 400},
		{"application/json", `client_id=me&client_secret=mine`, 400},
		{"application/json", ``, 400},
		{"application/json", `null`, 400},
		{"application/json", `{"client_id":"` + strings.Repeat("x", maxTokenRequest) + `"}`, 400},
		{"application/x-www-form-urlencoded", `client_id=me&client_secret=mine`, 400},
		{"application/x-www-form-urlencoded", `{"client_id":"me","client_secret":"mine"}`, 400},
		{"", `{"client_id":"me","client_secret":"mine"}`, 400},
	} {
		r := httptest.NewRequest("POST", "/api/developers-platform/token", strings.NewReader(test.body))
		r.Header.Set("Content-Type", test.kind)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != test.want {
			t.Errorf("%s %.60s: %d %s, want %d", test.kind, test.body, w.Code, w.Body, test.want)
		}
	}
}

// onFakeClock serves over a pipe inside a synctest bubble.
func onFakeClock(t *testing.T, config Config) (*Server, *client) {
	t.Helper()
	s, pipe := New(config), NewPipe()
	server := &http.Server{Handler: s}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(pipe) // ends by Close
	}()
	c := &client{t: t, base: "http://pipe", http: &http.Client{Transport: &http.Transport{DialContext: pipe.DialContext}}}
	t.Cleanup(func() {
		c.http.CloseIdleConnections()
		_ = server.Close()
		<-served
	})
	c.login(s)
	return s, c
}

// status sends a call and returns its status and Retry-After.
func (c *client) status(path string) (int, string) {
	c.t.Helper()
	res, err := c.do(path)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		c.t.Fatal(err)
	}
	return res.StatusCode, res.Header.Get("Retry-After")
}

func TestATokenIsAcceptedUntilItExpiresOrIsRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := onFakeClock(t, Config{Data: new(Folder), TokenLifetime: time.Minute})
		<-time.After(time.Minute - 1)
		if code, _ := c.status("/api/taxii/groups"); code != 200 {
			t.Errorf("a nanosecond before its expiry: %d", code)
		}
		<-time.After(1)
		if code, _ := c.status("/api/taxii/groups"); code != 401 {
			t.Errorf("at its expiry: %d", code)
		}
		c.login(s)
		s.Revoke()
		if code, _ := c.status("/api/taxii/groups"); code != 401 {
			t.Errorf("revoked: %d", code)
		}
	})
}

func TestCallsAboveTheRateLimitAreToldWhenToComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := onFakeClock(t, Config{Data: new(Folder), RateLimit: 0.25}) // the token's call is the first
		if code, after := c.status("/api/taxii/groups"); code != 429 || after != "4" {
			t.Errorf("%d, Retry-After %q", code, after)
		}
		<-time.After(4 * time.Second)
		if code, _ := c.status("/api/taxii/groups"); code != 200 {
			t.Errorf("after the wait: %d", code)
		}
	})
}

func TestLatencyPassesBeforeEachAnswerAndEndsWithTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := onFakeClock(t, Config{Data: new(Folder), Latency: time.Hour})
		from := time.Now()
		if code, _ := c.status("/api/taxii/groups"); code != 200 || time.Since(from) != time.Hour {
			t.Errorf("%d after %v", code, time.Since(from))
		}
		from, c.http.Timeout = time.Now(), time.Minute
		if _, err := c.do("/api/taxii/groups"); err == nil {
			t.Error("answered before its time")
		}
		c.http.CloseIdleConnections()
		synctest.Wait()
		if time.Since(from) != time.Minute {
			t.Errorf("held for %v", time.Since(from))
		}
	})
}

func TestTheDateHeaderShowsTheServersClock(t *testing.T) {
	skewed := time.Date(2031, 5, 6, 7, 8, 9, 0, time.FixedZone("", 3600))
	_, c := serve(t, Config{Data: new(Folder), Now: func() time.Time { return skewed }})
	res, err := c.do("/api/taxii/groups")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got := res.Header.Get("Date"); got != "Tue, 06 May 2031 06:08:09 GMT" {
		t.Errorf("Date %q", got)
	}
}

func TestAnswersAreCompressedForThoseWhoAcceptIt(t *testing.T) {
	for _, test := range []struct {
		noGzip       bool
		accept, want string
	}{{false, "gzip", "gzip"}, {false, "br", ""}, {true, "gzip", ""}} {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/api/taxii/groups", nil)
		r.Header.Set("Accept-Encoding", test.accept)
		New(Config{Data: new(Folder), NoGzip: test.noGzip}).ServeHTTP(w, r)
		zipped := strings.HasPrefix(w.Body.String(), "\x1f\x8b")
		if got := w.Header().Get("Content-Encoding"); got != test.want || zipped != (test.want == "gzip") {
			t.Errorf("%+v: Content-Encoding %q", test, got)
		}
	}
}

func TestExpiresAtHasAFractionWhenTheLifetimeHas(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	for _, test := range []struct {
		config Config
		want   string
	}{
		{Config{TokenLifetime: time.Hour}, "1800003600"},
		{Config{TokenLifetime: 1500 * time.Millisecond}, "1800000001.500"},
	} {
		if got := New(test.config).expiresAt(at.Add(test.config.TokenLifetime)); got != test.want {
			t.Errorf("%s, want %s", got, test.want)
		}
	}
}

func FuzzAnyRequestIsAnswered(f *testing.F) {
	f.Add("GET", "/api/profiles/all", "mode=compact&date_since=2026-01-01+00%3A00", "Bearer sandbox-token-1", "")
	f.Add("GET", "/api/stix/profiles/%31", "", "Bearer sandbox-token-1", "")
	f.Add("GET", "/api/taxii/objects", "groupId=9000&stixTypeName=indicator&modifiedAfter=0000-01-01T00:00:00Z", "Bearer sandbox-token-1", "")
	f.Add("POST", "/api/developers-platform/token", "", "", `{"client_id":"sandbox","client_secret":"sandbox-secret"}`)
	s := New(Config{Data: Generate(Shape{Profiles: 3, Alerts: 3, Reports: 3, Indicators: 300}), KeepCalls: 10})
	s.tokens.issue(time.Now(), time.Now().Add(time.Hour))
	f.Fuzz(func(t *testing.T, method, path, query, auth, body string) {
		r, err := http.NewRequest(method, "http://x/", strings.NewReader(body))
		if err != nil {
			t.Skip()
		}
		r.URL.Path, r.URL.RawPath, r.URL.RawQuery = path, "", query
		r.Header = http.Header{"Authorization": {auth}, "Accept": {"application/json"}, "Content-Type": {"application/json"}}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		switch w.Code {
		case 200, 400, 401, 404, 405, 406:
		default:
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
