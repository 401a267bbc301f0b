package threatmatch

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// The API answers at once, always; it is our own room that is full while RabbitMQ takes nothing for 90 seconds.
func TestRoomThatIsFullIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, lines := observer.New(zapcore.ErrorLevel)
		c := newClient(t, newAPI(always(200, `{"objects":[]}`)), func(cfg *Config) { cfg.Log = zap.New(core) })
		full := func(int64) error { return ErrNoRoom }
		if _, err := c.Item(context.Background(), "alerts", "1"); err != nil {
			t.Fatal(err)
		}
		_, err := c.ItemWithin(t.Context(), "alerts", "2", full) // the last answer before all workers wait for their turn
		t.Log(err)
		time.Sleep(90 * time.Second)
		_, err = c.ItemWithin(t.Context(), "alerts", "3", full) // the first one after it
		t.Log(err)
		_, err = c.ItemWithin(t.Context(), "alerts", "3", nil)
		t.Log(err)
		for _, l := range lines.All() {
			t.Errorf("told: %s %v", l.Message, l.ContextMap())
		}
	})
}

// What keeps the first call of a connector from ThreatMatch is told of once, with what to do, and costs nothing but time: the call
// succeeds when it is mended after an hour.
func TestWhyThreatMatchCannotBeUsedIsToldInTime(t *testing.T) {
	const soon, later = 5 * time.Second, 15 * time.Second
	const base = "is THREATMATCH_URL ThreatMatch's base URL"
	fails := func(err error) func() (*http.Response, error) {
		return func() (*http.Response, error) { return nil, err }
	}
	says := func(status int, body string) func() (*http.Response, error) {
		return func() (*http.Response, error) { return reply(status, body), nil }
	}
	for name, tt := range map[string]struct {
		answer func() (*http.Response, error)
		within time.Duration
		remedy string
	}{
		"unknown host":                 {downs["no such host"], soon, "check the DNS of this machine or container, and THREATMATCH_URL"},
		"unknown authority":            {fails(x509.UnknownAuthorityError{}), soon, "HTTPS_CA_CERTIFICATES"},
		"redirect to elsewhere":        {func() (*http.Response, error) { return reply(302, "", "Location", "https://elsewhere.test/"), nil }, soon, "set THREATMATCH_URL"},
		"TLS to plain port":            {fails(http.ErrSchemeMismatch), soon, "let THREATMATCH_URL begin with http://"},
		"plain to TLS port":            {fails(errors.New(`net/http: HTTP/1.x transport connection broken: malformed HTTP response "\x15\x03\x01"`)), soon, "let THREATMATCH_URL begin with https://"},
		"plain to a port that says so": {says(400, "Client sent an HTTP request to an HTTPS server.\n"), soon, "let THREATMATCH_URL begin with https://"},
		"page":                         {says(200, "<html><title>Welcome</title></html>"), soon, base},
		"page not found":               {says(404, "<html><title>404</title></html>"), soon, base},
		"page not implemented":         {says(501, "<html><title>501</title></html>"), soon, base},
		"page denied":                  {says(403, "\n<html><title>Denied</title></html>"), soon, base},
		"page of refusal":              {says(400, "<html><title>Sorry</title></html>"), soon, "THREATMATCH_CLIENT_SECRET"},
		"captive portal":               {says(511, "log in"), soon, base},
		"another API":                  {says(404, `{"error":"not found"}`), soon, base},
		"another API's answer":         {says(200, `{"status":"ok"}`), soon, base},
		"refused connection":           {downs["refused"], later, "check that it runs, and THREATMATCH_URL"},
		"no route":                     {fails(&net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}), later, "check the network, and THREATMATCH_URL"},
		"bad gateway":                  {downs["bad gateway"], later, "what stands before it cannot reach it"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, lines := observer.New(zapcore.ErrorLevel)
				api, _ := newAway(tt.answer, time.Hour)
				c := newClient(t, api, func(cfg *Config) { cfg.Alarms, cfg.Patience = zap.New(core), 24*time.Hour })
				began := time.Now()
				if _, err := c.Item(t.Context(), "alerts", "1"); err != nil {
					t.Errorf("it goes on with %v", err)
				}
				told := lines.All()
				if len(told) != 2 || !strings.Contains(told[0].Message, tt.remedy) || told[0].Time.Sub(began) > tt.within {
					t.Errorf("told %v, want %q within %s, and the end", told, tt.remedy, tt.within)
				}
			})
		})
	}
}

// What answers in place of one item, always, costs that item alone, though the client may not have the groups either and is told so
// in the same way.
func TestWhatAnswersInPlaceOfAnItemIsNoSilence(t *testing.T) {
	const page = "<html><title>Sorry</title></html>"
	for name, answer := range map[string]func() *http.Response{
		"a page":                     func() *http.Response { return reply(200, page) },
		"a page denied":              func() *http.Response { return reply(403, page) },
		"a page not found":           func() *http.Response { return reply(404, page) },
		"the way to another server":  func() *http.Response { return reply(302, "", "Location", "https://elsewhere.test/") },
		"a page that asks for time":  func() *http.Response { return reply(408, page) },
		"a page of a server's error": func() *http.Response { return reply(500, page) },
	} {
		for _, groups := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, groups %t", name, groups), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					core, lines := observer.New(zapcore.ErrorLevel)
					a := newAPI(func(r *http.Request, _ int) (*http.Response, error) {
						if strings.HasSuffix(r.URL.Path, "/good") {
							return reply(200, `{"objects":[]}`), nil
						}
						return answer(), nil
					})
					a.away = !groups
					c := newClient(t, a, func(cfg *Config) { cfg.Alarms, cfg.Patience = zap.New(core), 24*time.Hour })
					began := time.Now()
					if _, err := c.Item(t.Context(), "alerts", "bad"); err == nil || IsAway(err) {
						t.Error(err)
					}
					if _, err := c.Item(t.Context(), "alerts", "good"); err != nil {
						t.Error(err)
					}
					if took := time.Since(began); took > time.Minute {
						t.Errorf("it took %s", took)
					}
					if lines.Len() > 0 {
						t.Errorf("told %v", lines.All())
					}
				})
			})
		}
	}
}

// A gateway that holds back whoever asks too much often does so with a page.
func TestAPageThatHoldsBackIsNoOtherServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, lines := observer.New(zapcore.ErrorLevel)
		api, _ := newAway(func() (*http.Response, error) {
			return reply(429, "<html><title>429 Too Many Requests</title></html>"), nil
		}, 2*time.Minute)
		c := newClient(t, api, func(cfg *Config) { cfg.Alarms, cfg.Attempts = zap.New(core), 20 })
		if _, err := c.Item(t.Context(), "alerts", "1"); err != nil {
			t.Error(err)
		}
		if told := lines.All(); len(told) != 2 || !strings.Contains(told[0].Message, "THREATMATCH_RATE_LIMIT") {
			t.Errorf("told %v", told)
		}
	})
}
