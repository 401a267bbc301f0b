package remote

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAServerThatDoesNotSpeakTLSStaysSo(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	c := NewTransport(Way{})
	defer c.CloseIdleConnections()
	_, err := (&http.Client{Transport: c}).Get(strings.Replace(server.URL, "http:", "https:", 1))
	if !Lasting(err) {
		t.Errorf("another attempt is hoped for after %v", err)
	}
}

// A transport of the zero value waits for ever, and keeps as many connections as there ever were.
func TestEveryWaitOfAConnectionHasALimit(t *testing.T) {
	c := NewTransport(Way{})
	if c.DialContext == nil || c.DialTLSContext == nil || c.ResponseHeaderTimeout <= 0 || c.IdleConnTimeout <= 0 ||
		c.MaxIdleConns <= 0 || c.MaxIdleConnsPerHost <= 0 || c.MaxResponseHeaderBytes <= 0 || c.Proxy == nil {
		t.Errorf("%+v", c)
	}
	if least := dialTimeout + tlsTimeout + c.ResponseHeaderTimeout - 1; HeadTimeout <= least {
		t.Errorf("HeadTimeout is %s, and the steps take up to %s", HeadTimeout, least)
	}
}
