package opencti_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
)

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func TestAnswersThatAreFailures(t *testing.T) {
	const html = "<html><head><title>502 Bad\n Gateway &amp; more</title></head><body>x</body></html>"
	for _, tt := range []struct {
		name         string
		status       int
		contentType  string
		body         string
		errName      string
		contains     string
		temporary    bool
		unauthorized bool
	}{
		{"name first", 200, "application/json", `{"errors":[{"name":"N","message":"M","extensions":{"code":"C"}}],"data":{"about":{"version":"7"}}}`, "N", "N: M", false, false},
		{"message second", 200, "application/json", `{"errors":[{"message":"M","extensions":{"code":"C"}}]}`, "M", "M", false, false},
		{"code third", 200, "application/json", `{"errors":[{"extensions":{"code":"C"}}]}`, "C", "C", false, false},
		{"errors is an object", 200, "application/json", `{"errors":{"message":"M"},"data":{"about":{"version":"7"}}}`, "M", "M", false, false},
		{"errors holds anything", 200, "application/json", `{"errors":[17],"data":{"about":{"version":"7"}}}`, "17", "17", false, false},
		{"auth required by name", 200, "application/json", `{"errors":[{"name":"AUTH_REQUIRED","message":"You must be logged in"}]}`, "AUTH_REQUIRED", "OPENCTI_TOKEN", false, true},
		{"forbidden by code", 200, "application/json", `{"errors":[{"message":"no","extensions":{"code":"FORBIDDEN_ACCESS"}}]}`, "no", "OPENCTI_TOKEN", false, true},
		{"401", 401, "text/html", html, "", "OPENCTI_TOKEN", false, true},
		{"403", 403, "application/json", `{}`, "", "OPENCTI_TOKEN", false, true},
		{"502 with a page", 502, "text/html", html, "", "502 Bad Gateway & more", true, false},
		{"503 without a body", 503, "", "", "", "empty answer", true, false},
		{"504 with JSON", 504, "application/json", `{"message":"x"}`, "", "Gateway Timeout", true, false},
		{"404", 404, "text/plain", "404 page not found", "", "OPENCTI_URL", false, false},
		{"a login page", 200, "text/html", "<!doctype html><title>Sign in</title>", "", "Sign in", true, false},
		{"broken JSON", 200, "application/json", `{"data":{"about":`, "", "not valid JSON", true, false},
		{"null", 200, "application/json", `null`, "", "instead of JSON", true, false},
		{"no data", 200, "application/json", `{}`, "", "no data", false, false},
		{"null data", 200, "application/json", `{"data":null}`, "", "no data", false, false},
		{"other data", 200, "application/json", `{"data":{"about":[1]}}`, "", "unexpected answer", false, false},
		{"no version", 200, "application/json", `{"data":{}}`, "", "no version", false, false},
		{"control characters", 200, "application/json", `{"errors":[{"message":"a\u0000\n\u001b[31mb"}]}`, "a [31mb", "a [31mb", false, false},
		{"a database away", 200, "application/json", `{"errors":[{"name":"DATABASE_ERROR","message":"x"}]}`, "DATABASE_ERROR", "x", true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url, requests := serve(t, answering(tt.status, tt.contentType, tt.body))
			_, err := connect(t, opencti.Config{URL: url}).Version(t.Context())
			var e *opencti.Error
			if !errors.As(err, &e) {
				t.Fatalf("error is %v", err)
			}
			if tt.errName != "" && e.Name != tt.errName {
				t.Errorf("name %q, want %q", e.Name, tt.errName)
			}
			if !strings.Contains(err.Error(), tt.contains) || strings.ContainsAny(err.Error(), "\n\x00\x1b") {
				t.Errorf("error %q does not say %q in one line", err, tt.contains)
			}
			if opencti.IsTemporary(err) != tt.temporary || opencti.IsUnauthorized(err) != tt.unauthorized || opencti.IsUnsent(err) {
				t.Errorf("%v: temporary %v, unauthorized %v, unsent %v", err, opencti.IsTemporary(err), opencti.IsUnauthorized(err), opencti.IsUnsent(err))
			}
			if e.Operation != "about" {
				t.Errorf("operation %q", e.Operation)
			}
			if n := requests.Load(); n != 1 && !tt.temporary {
				t.Errorf("%d requests for a lasting failure", n)
			}
		})
	}
}

func TestARefusalOfAGatewayIsNotBlamedOnTheTokenAlone(t *testing.T) {
	for body, gateway := range map[string]bool{
		"<html><title>Denied</title></html>":                                      true,
		`{"errors":[{"name":"AUTH_REQUIRED","message":"You must be logged in"}]}`: false,
	} {
		url, _ := serve(t, answering(http.StatusForbidden, "", body))
		_, err := connect(t, opencti.Config{URL: url}).Version(t.Context())
		why := opencti.Diagnose(err)
		if why.Kind != "token" || strings.Contains(why.Remedy, "OPENCTI_CUSTOM_HEADERS") != gateway {
			t.Errorf("%s: %+v of %v", body, why, err)
		}
	}
}

func TestQueriesAreRepeatedAndMutationsAreNot(t *testing.T) {
	queries := map[string]func(*opencti.Client) error{
		"about":     func(c *opencti.Client) error { _, err := c.Version(context.Background()); return err },
		"connector": func(c *opencti.Client) error { _, err := c.ConnectorState(context.Background()); return err },
		"work": func(c *opencti.Client) error {
			_, err := c.Expectations(context.Background(), "w")
			if errors.Is(err, opencti.ErrWorkNotAlive) {
				return nil
			}
			return err
		},
		"schemaRelationsTypesMapping": func(c *opencti.Client) error { _, err := c.Relations(context.Background()); return err },
		"stixObjectOrStixRelationships": func(c *opencti.Client) error {
			_, err := c.Holds(context.Background(), []string{"identity--1", "identity--2"})
			return err
		},
	}
	mutations := map[string]func(*opencti.Client) error{
		"pingConnector": func(c *opencti.Client) error {
			_, err := c.Ping(context.Background(), "null", opencti.Info{})
			return err
		},
		"registerConnector": func(c *opencti.Client) error {
			_, err := c.Register(context.Background(), opencti.Registration{Name: "x"})
			return err
		},
		"workAdd":         func(c *opencti.Client) error { _, err := c.AddWork(context.Background(), "x"); return err },
		"addExpectations": func(c *opencti.Client) error { return c.AddExpectations(context.Background(), "w", 1) },
		"toProcessed":     func(c *opencti.Client) error { return c.CloseWork(context.Background(), "w", "", false) },
	}
	faults := map[string]openctitest.Do{
		"502":     openctitest.Status(502, "<html>"),
		"a page":  openctitest.Status(200, "<html>"),
		"refused": openctitest.Refuse,
		"dropped": openctitest.DropAnswer,
	}
	for fault, do := range faults {
		p, c, requests := start(t, openctitest.Config{Relations: map[string][]string{"A_B": {"uses"}}})
		register(t, c)
		for operation, call := range queries {
			hits := p.Fault(openctitest.Rule{Operation: operation, To: 3, Do: do})
			before := requests.Load()
			if err := call(c); err != nil {
				t.Errorf("%s, %s: %v", fault, operation, err)
			}
			if n := requests.Load() - before; n != 4 || hits() != 3 {
				t.Errorf("%s, %s: %d requests, %d hits", fault, operation, n, hits())
			}
		}
		for operation, call := range mutations {
			hits := p.Fault(openctitest.Rule{Operation: operation, To: -1, Do: do})
			err := call(c)
			if !opencti.IsTemporary(err) || opencti.IsUnsent(err) {
				t.Errorf("%s, %s: %v", fault, operation, err)
			}
			if n := hits(); n != 1 {
				t.Errorf("%s, %s: %d requests", fault, operation, n)
			}
		}
	}
}

func TestQueriesGiveUp(t *testing.T) {
	url, requests := serve(t, answering(503, "text/plain", "later"))
	_, err := connect(t, opencti.Config{URL: url}).Version(t.Context())
	if !opencti.IsTemporary(err) || !strings.Contains(err.Error(), "later") || requests.Load() != 4 {
		t.Errorf("%v after %d requests", err, requests.Load())
	}
}

func TestABodyThatBreaksOffIsRepeated(t *testing.T) {
	n := 0
	url, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		body := `{"data":{"about":{"version":"7"}}}`
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		if n++; n == 1 {
			body = body[:10]
		}
		_, _ = w.Write([]byte(body))
	}))
	if v, err := connect(t, opencti.Config{URL: url}).Version(t.Context()); v != "7" || err != nil || n != 2 {
		t.Errorf("%q, %v after %d", v, err, n)
	}
}

func TestWhatDidNotReachThePlatformIsUnsent(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	secure := httptest.NewUnstartedServer(answering(200, "application/json", `{"data":{"workAdd":{"id":"w"}}}`))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	p, err := openctitest.New(openctitest.Config{Token: token})
	if err != nil {
		t.Fatal(err)
	}
	p.Fault(openctitest.Rule{To: -1, Do: openctitest.Refuse})
	refusing, _ := serve(t, p)

	for _, tt := range []struct {
		name      string
		url       string
		unsent    bool
		temporary bool
	}{
		{"connection refused", "http://" + closed.Addr().String(), true, true},
		{"no such host", "http://platform.invalid", true, true},
		{"certificate of an unknown authority", secure.URL, true, false},
		{"connection closed by the platform", refusing, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := connect(t, opencti.Config{URL: tt.url})
			_, err := c.AddWork(t.Context(), "run")
			if err == nil || opencti.IsUnsent(err) != tt.unsent || opencti.IsTemporary(err) != tt.temporary {
				t.Errorf("%v: unsent %v, temporary %v", err, opencti.IsUnsent(err), opencti.IsTemporary(err))
			}
		})
	}
	c := connect(t, opencti.Config{URL: secure.URL, HTTP: secure.Client()})
	if _, err := c.AddWork(t.Context(), "run"); err != nil {
		t.Errorf("with the authority known: %v", err)
	}
}

type opaque struct{ err error }

func (o opaque) RoundTrip(*http.Request) (*http.Response, error) { return nil, o.err }

func TestATransportThatTellsNothingMayHaveSent(t *testing.T) {
	c := connect(t, opencti.Config{URL: "http://x", HTTP: &http.Client{Transport: opaque{errors.New("broke")}}})
	if _, err := c.AddWork(t.Context(), "run"); opencti.IsUnsent(err) || !opencti.IsTemporary(err) {
		t.Errorf("%v", err)
	}
}

func TestACallEndsWithItsContext(t *testing.T) {
	p, c, _ := start(t, openctitest.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	p.OnOperation(func(string) { cancel() })
	p.Fault(openctitest.Rule{To: -1, Do: openctitest.Slow(time.Hour)})
	if _, err := c.Version(ctx); !errors.Is(err, context.Canceled) || opencti.IsTemporary(err) {
		t.Errorf("ended by the caller: %v", err)
	}
}

func TestAPlatformThatDoesNotAnswerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hears := func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go func() {
				_, _ = io.Copy(io.Discard, server)
				server.Close()
			}()
			return client, nil
		}
		c := connect(t, opencti.Config{URL: "http://platform", Timeout: 400 * time.Millisecond, HTTP: &http.Client{Transport: &http.Transport{DialContext: hears}}})
		_, err := c.Ping(t.Context(), "null", opencti.Info{})
		if !opencti.IsTemporary(err) || opencti.IsUnsent(err) || !strings.Contains(err.Error(), "no answer within 400ms") {
			t.Errorf("%v: unsent %v, temporary %v", err, opencti.IsUnsent(err), opencti.IsTemporary(err))
		}
	})
}

func TestAnAnswerTooLargeIsRefused(t *testing.T) {
	url, requests := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		chunk := []byte(strings.Repeat(" ", 1<<16))
		for {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}))
	c := connect(t, opencti.Config{URL: url})
	_, err := c.Version(t.Context())
	if err == nil || !strings.Contains(err.Error(), "larger than") || opencti.IsTemporary(err) || requests.Load() != 1 {
		t.Errorf("query: %v after %d requests", err, requests.Load())
	}
	if _, err = c.AddWork(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("mutation: %v", err)
	}
}

func TestGzipIsRead(t *testing.T) {
	url, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			t.Error("gzip is not offered")
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = z.Write([]byte(`{"data":{"about":{"version":"7"}}}`))
		_ = z.Close()
	}))
	if v, err := connect(t, opencti.Config{URL: url}).Version(t.Context()); v != "7" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
}

func TestRedirectsDoNotCarryTheTokenAway(t *testing.T) {
	elsewhere, reached := serve(t, answering(200, "application/json", `{"data":{"about":{"version":"7"},"workAdd":{"id":"w"}}}`))
	other := strings.Replace(elsewhere, "127.0.0.1", "localhost", 1)
	for _, to := range []string{elsewhere, other} { // another service on the same host, and another host
		for _, status := range []int{301, 302, 307, 308} {
			url, requests := serve(t, http.RedirectHandler(to+"/graphql?"+token, status))
			c := connect(t, opencti.Config{URL: url})
			_, asked := c.Version(t.Context())
			_, added := c.AddWork(t.Context(), "run")
			for _, err := range []error{asked, added} {
				if err == nil || !strings.Contains(err.Error(), "redirects to "+to) || !strings.Contains(err.Error(), "set OPENCTI_URL") ||
					strings.Contains(err.Error(), token) || opencti.IsTemporary(err) || opencti.IsUnsent(err) {
					t.Errorf("%d: %v", status, err)
				}
			}
			if reached.Load() != 0 || requests.Load() != 2 {
				t.Fatalf("%d was followed, or repeated: %d requests", status, requests.Load())
			}
		}
	}
}

func TestARedirectAtThePlatformItselfIsFollowed(t *testing.T) {
	url, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/graphql" {
			http.Redirect(w, r, "/moved/graphql", http.StatusPermanentRedirect)
			return
		}
		if r.Header.Get("Authorization") != "Bearer "+token {
			t.Error("the token got lost")
		}
		answering(200, "application/json", `{"data":{"about":{"version":"7"}}}`).ServeHTTP(w, r)
	}))
	if v, err := connect(t, opencti.Config{URL: url}).Version(t.Context()); v != "7" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
}

func TestNoErrorHoldsASecret(t *testing.T) {
	const header = "access-secret-0815"
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		said := r.Header.Get("Authorization") + " " + r.Header.Get("X-Access")
		switch r.Header.Get("X-Kind") {
		case "html":
			w.WriteHeader(502)
			_, _ = fmt.Fprintf(w, "<title>%s</title>", said)
		case "text":
			w.WriteHeader(500)
			_, _ = fmt.Fprint(w, said)
		case "name":
			_, _ = fmt.Fprintf(w, `{"errors":[{"name":%q,"message":%q}]}`, said, said)
		case "message":
			_, _ = fmt.Fprintf(w, `{"errors":[{"message":%q}]}`, said)
		case "raw":
			_, _ = fmt.Fprintf(w, `{"errors":[[%q]]}`, said)
		case "data":
			_, _ = fmt.Fprintf(w, `{"data":{"about":{"version":{%q:1}}}}`, said)
		case "redirect":
			w.Header().Set("Location", "https://"+token+".example.org/"+token)
			w.WriteHeader(302)
		}
	})
	url, _ := serve(t, echo)
	for _, base := range []string{url, strings.Replace(url, "http://", "http://user:"+token+"@", 1), "http://127.0.0.1:1/" + token} {
		for _, kind := range []string{"html", "text", "name", "message", "raw", "data", "redirect"} {
			c := connect(t, opencti.Config{URL: base, Headers: http.Header{"X-Access": {header}, "X-Kind": {kind}}})
			_, err := c.Version(t.Context())
			if err == nil {
				t.Fatalf("%s: no error", kind)
			}
			for e := err; e != nil; e = errors.Unwrap(e) {
				if _, ok := e.(*opencti.Error); !ok {
					continue
				}
				for _, text := range []string{e.Error(), fmt.Sprintf("%+v", e)} {
					if strings.Contains(text, token) || strings.Contains(text, header) {
						t.Errorf("%s: %s", kind, text)
					}
				}
			}
		}
	}
	for _, bad := range []string{token, "://" + token, "ftp://" + token} {
		if _, err := opencti.New(opencti.Config{URL: bad}); err == nil || strings.Contains(err.Error(), token) {
			t.Errorf("New(%q): %v", bad, err)
		}
	}
	q := opencti.Queue{Host: "h", User: "u", Password: "hunter2222"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if strings.Contains(fmt.Sprintf(verb, q), "hunter") || strings.Contains(fmt.Sprintf(verb, opencti.Registered{Queue: q}), "hunter") {
			t.Errorf("%s shows the password", verb)
		}
	}
}

func TestAMessageThatIsCutShowsNoPartOfASecret(t *testing.T) {
	for length := range 600 {
		said := strings.Repeat("x", length) + " " + token
		for _, a := range []struct{ contentType, body string }{
			{"application/json", `{"errors":[{"message":"` + said + `"}]}`},
			{"text/html", "<title>" + said + "</title>"},
		} {
			c := connect(t, opencti.Config{URL: "http://platform", HTTP: &http.Client{Transport: canned{500, []byte(a.body)}}})
			if _, err := c.Version(t.Context()); err == nil || strings.Contains(err.Error(), token[:8]) {
				t.Fatalf("%s: %v", a.contentType, err)
			}
		}
	}
}

func TestHeadersAreSentButReplaceNothing(t *testing.T) {
	p, err := openctitest.New(openctitest.Config{Token: token})
	if err != nil {
		t.Fatal(err)
	}
	url, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Proxy") != "a" {
			t.Error("the custom header is missing")
		}
		p.ServeHTTP(w, r)
	}))
	c := connect(t, opencti.Config{URL: url + "/", Headers: http.Header{"X-Proxy": {"a"}, "Authorization": {"Basic x"}}})
	if _, err := c.Version(t.Context()); err != nil {
		t.Error(err)
	}
	wrong := connect(t, opencti.Config{URL: url, Token: "another", Headers: http.Header{"X-Proxy": {"a"}}})
	if _, err := wrong.Version(t.Context()); !opencti.IsUnauthorized(err) {
		t.Errorf("a wrong token: %v", err)
	}
}
