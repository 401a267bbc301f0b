package opencti

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

type always struct {
	status int
	body   string
}

func (a always) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: a.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(a.body))}, nil
}

func TestAPlatformThatNeverServesIsToldOf(t *testing.T) {
	for name, a := range map[string]always{
		"a proxy's 500":           {500, "<html><title>500 Internal Server Error</title></html>"},
		"500 as JSON":             {500, `{"message":"boom"}`},
		"GraphQL's INTERNAL":      {200, `{"errors":[{"message":"Cannot read properties of undefined","extensions":{"code":"INTERNAL_SERVER_ERROR"}}],"data":null}`},
		"no data":                 {200, `{"data":null}`},
		"another GraphQL service": {200, `{"errors":[{"message":"Cannot query field \"about\" on type \"Query\".","extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}`},
		"a proxy that wants 407":  {407, "<html><title>Proxy Authentication Required</title></html>"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logged := observer.New(zapcore.InfoLevel)
				c, err := New(Config{URL: "http://opencti.test", Token: "t", ConnectorID: "c", HTTP: &http.Client{Transport: a}, Log: zap.New(core)})
				if err != nil {
					t.Fatal(err)
				}
				var last error
				for range 12 * 60 { // an hour, as join asks
					_, last = c.Version(t.Context())
					time.Sleep(5 * time.Second)
				}
				if last == nil || logged.Len() == 0 {
					t.Errorf("an hour of %v: nothing is told at info or above", last)
				}
			})
		})
	}
}

// A name that is not resolved for a third of a second, as where containers start side by side, within one call that succeeds.
func TestAMomentIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logged := observer.New(zapcore.InfoLevel)
		n := 0
		c, err := New(Config{URL: "http://opencti.test", Token: "t", ConnectorID: "c", Log: zap.New(core), HTTP: &http.Client{Transport: trip(func(r *http.Request) (*http.Response, error) {
			if n++; n < 3 {
				return nil, &net.DNSError{Err: "no such host", Name: "opencti.test", IsNotFound: true}
			}
			return always{200, `{"data":{"about":{"version":"6"}}}`}.RoundTrip(r)
		})}})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, err = c.Version(t.Context())
		for _, l := range logged.All() {
			t.Errorf("after %s (%v): %s", time.Since(began), err, l.Message)
		}
	})
}

type trip func(*http.Request) (*http.Response, error)

func (f trip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
