package threatmatchtest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const anItem = "/api/stix/profiles/10000"

// body sends a call and returns what came of its body before the error.
func (c *client) body(path string) (status int, header http.Header, body string, err error) {
	res, err := c.do(path)
	if err != nil {
		return 0, nil, "", err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	return res.StatusCode, res.Header, string(got), err
}

func TestFaultsDoWhatTheySayOnARealSocket(t *testing.T) {
	s, c := serve(t, Config{Data: Generate(Shape{Seed: 3, Profiles: 1})})
	_, _, honest, err := c.body(anItem)
	if err != nil || len(honest) < 10_000 {
		t.Fatalf("%d bytes, %v", len(honest), err)
	}
	for _, test := range []struct {
		name   string
		do     Fault
		status int
		body   string
		header [2]string
		failed bool
	}{
		{"status", Status(503, "Retry-After", "1"), 503, `{"error":"Service Unavailable"}`, [2]string{"Retry-After", "1"}, false},
		{"retry after", RetryAfter("10000000000"), 429, `{"error":"Too Many Requests"}`, [2]string{"Retry-After", "10000000000"}, false},
		{"unauthorized", Unauthorized(), 401, `{"error":"Unauthorized"}`, [2]string{"Www-Authenticate", "Bearer"}, false},
		{"error body", ErrorBody(), 200, `{"error":"Internal error, please try again later"}`, [2]string{"Content-Type", "application/json"}, false},
		{"null", Body("null"), 200, `null`, [2]string{"Content-Type", "application/json"}, false},
		{"empty", Body(""), 200, ``, [2]string{"Content-Length", "0"}, false},
		{"slow", Slow(time.Millisecond), 200, honest, [2]string{}, false},
		{"truncated", Truncated(9000), 200, honest[:9000], [2]string{}, true},
		{"truncated at once", Truncated(0), 200, "", [2]string{}, true},
		{"truncated beyond its end", Truncated(1 << 20), 200, honest[:len(honest)-1], [2]string{}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.ClearFaults()
			s.Fault(Rule{Path: anItem, Do: test.do})
			status, header, body, err := c.body(anItem)
			if status != test.status || body != test.body || (err != nil) != test.failed {
				t.Errorf("%d, %d bytes %.60q, %v", status, len(body), body, err)
			}
			if test.failed && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("failed with %v", err)
			}
			if name := test.header[0]; name != "" && header.Get(name) != test.header[1] {
				t.Errorf("%s: %q", name, header.Get(name))
			}
			if calls := s.Calls(); calls[len(calls)-1].Status != test.status {
				t.Errorf("status noted as %d", calls[len(calls)-1].Status)
			}
		})
	}
}

func TestAWebPageIsNoJSON(t *testing.T) {
	s, c := serve(t, Config{Data: new(Folder)})
	s.Fault(Rule{Do: HTML()})
	status, header, body, err := c.body("/api/taxii/groups")
	if status != 200 || !strings.HasPrefix(header.Get("Content-Type"), "text/html") || body[0] != '<' || err != nil {
		t.Errorf("%d %v %q %v", status, header, body, err)
	}
}

func TestAResetIsOneAndHasNoStatus(t *testing.T) {
	for _, secure := range []bool{false, true} {
		s := New(Config{Data: new(Folder)})
		s.Fault(Rule{Do: Reset()})
		socket := httptest.NewUnstartedServer(s)
		if secure {
			socket.StartTLS()
		} else {
			socket.Start()
		}
		_, err := socket.Client().Get(socket.URL + "/api/taxii/groups")
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("TLS %v: %v", secure, err)
		}
		if calls := s.Calls(); calls[0].Status != 0 {
			t.Errorf("TLS %v: status noted as %d", secure, calls[0].Status)
		}
		socket.Client().CloseIdleConnections()
		socket.Close()
	}
}

func TestAnEndlessBodyEndsWithItsReader(t *testing.T) {
	for name, fault := range map[string]Fault{"plain": Endless(), "gzip": EndlessGzip()} {
		for _, path := range []string{anItem, "/api/profiles/all"} {
			s, c := serve(t, Config{Data: new(Folder)})
			s.Fault(Rule{Do: fault})
			res, err := c.do(path)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := io.CopyN(io.Discard, res.Body, 8<<20); err != nil {
				t.Errorf("%s %s: ended after %d bytes: %v", name, path, n, err)
			}
			res.Body.Close()
			c.http.CloseIdleConnections() // goleak sees a handler that goes on
		}
	}
}

func TestARepeatedPageIsTheFirstOne(t *testing.T) {
	s, c := serve(t, Config{Data: Generate(Shape{Indicators: 500})})
	s.Fault(Rule{Path: "/api/taxii/objects", Do: Repeat()})
	first := c.page("9000", time.Time{}, millis)
	second := c.page("9000", defaultStart.AddDate(1, 0, 0), millis)
	if !second.More || len(first.Objects) != 100 || !slices.EqualFunc(first.Objects, second.Objects, slices.Equal) {
		t.Errorf("%d objects, then %d, more %v", len(first.Objects), len(second.Objects), second.More)
	}
}

func TestFaultsTakeTheirTimeOnTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := onFakeClock(t, Config{Data: Generate(Shape{Profiles: 1})})
		s.Fault(Rule{Path: anItem, Do: Slow(time.Hour)})
		from := time.Now()
		if _, _, _, err := c.body(anItem); err != nil || time.Since(from) != time.Hour {
			t.Errorf("slow: %v after %v", err, time.Since(from))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, "GET", c.base+anItem, nil)
		if _, err := c.http.Do(req); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("slow, for a client that does not wait: %v", err)
		}
	})
}

func TestARuleMeetsTheCallsThatItNumbers(t *testing.T) {
	s := New(Config{Data: new(Folder)})
	s.Fault(Rule{Path: "/api/stix/*", From: 2, To: 3, Do: Status(500)})
	s.Fault(Rule{Path: "/api/*/all", From: 2, Do: Status(502)})
	s.Fault(Rule{Path: "/api/stix/profiles/1", From: 4, To: 4, Do: Status(504)})
	for i, call := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/api/stix/profiles/1", 401},
		{"GET", "/api/stix/profiles/1", 500},
		{"POST", "/api/stix/alerts/1", 500},
		{"GET", "/api/stix/profiles/1", 401},
		{"GET", "/api/stix/profiles/1", 504},
		{"POST", "/api/stix/profiles/1", 405},
		{"GET", "/api/profiles/all", 401},
		{"GET", "/api/alerts/all", 502},
		{"GET", "/api/alerts/all", 502},
		{"GET", "/api/more/alerts/all", 404},
	} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(call.method, call.path, nil))
		if w.Code != call.want {
			t.Errorf("call %d, %s %s: %d, want %d", i, call.method, call.path, w.Code, call.want)
		}
	}
	if n := s.Count("/api/stix/*"); n != 6 {
		t.Errorf("%d calls to /api/stix/*", n)
	}
	if n := s.Count("/api/*/all"); n != 3 {
		t.Errorf("%d calls to /api/*/all", n)
	}
	if n := s.Count(""); n != 10 {
		t.Errorf("%d calls", n)
	}
	s.ClearFaults()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("GET", "/api/alerts/all", nil))
	if w.Code != 401 {
		t.Errorf("without rules: %d", w.Code)
	}
}

func TestTheLatestCallsAreKept(t *testing.T) {
	s := New(Config{Data: new(Folder), KeepCalls: 3})
	for _, path := range []string{"/1", "/2", "/3", "/4", "/5"} {
		s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path+"?q", nil))
	}
	var got []string
	for _, c := range s.Calls() {
		got = append(got, c.Path)
		if c.Status != 404 || c.Query != "q" {
			t.Errorf("%+v", c)
		}
	}
	if !slices.Equal(got, []string{"/3", "/4", "/5"}) {
		t.Errorf("kept %v", got)
	}
}

func TestARefusingPipeIsAClosedPort(t *testing.T) {
	p := NewPipe()
	p.Refuse(true)
	if _, err := p.DialContext(t.Context(), "tcp", "x:443"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("refusing: %v", err)
	}
	p.Refuse(false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.DialContext(ctx, "tcp", "x:443"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	p.Close()
	if _, err := p.DialContext(t.Context(), "tcp", "x:443"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("closed: %v", err)
	}
}
