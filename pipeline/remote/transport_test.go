package remote

import (
	"net/http"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A transport of the zero value waits for ever, and keeps as many connections as there ever were.
func TestEveryWaitOfAConnectionHasALimit(t *testing.T) {
	c := NewTransport(nil, nil)
	if c.DialContext == nil || c.TLSHandshakeTimeout <= 0 || c.ResponseHeaderTimeout <= 0 || c.IdleConnTimeout <= 0 ||
		c.MaxIdleConns <= 0 || c.MaxIdleConnsPerHost <= 0 || c.MaxResponseHeaderBytes <= 0 || c.Proxy == nil {
		t.Errorf("%+v", c)
	}
	if least := c.TLSHandshakeTimeout + c.ResponseHeaderTimeout; HeadTimeout <= least {
		t.Errorf("HeadTimeout is %s, and the steps take up to %s", HeadTimeout, least)
	}
	if http.DefaultTransport == http.RoundTripper(c) {
		t.Error("it is shared with the rest of the program")
	}
}
