package remote

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// hops answers each request with the redirect that its address names, and at the end with 200.
type hops struct {
	status int
	to     []string
	seen   []string
}

func (h *hops) RoundTrip(r *http.Request) (*http.Response, error) {
	h.seen = append(h.seen, r.Method+" "+r.URL.String())
	resp := &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: r}
	if n := len(h.seen); n <= len(h.to) {
		resp.StatusCode = h.status
		resp.Header.Set("Location", h.to[n-1])
	}
	return resp, nil
}

func TestCredentialsStayWithTheirService(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		followed bool
	}{
		{"https://a.test/graphql", "/graphql/", true},
		{"https://a.test/x", "https://A.test:443/y", true},
		{"http://a.test:80/x", "http://a.test/y", true},
		{"http://a.test:8080/x", "http://a.test:8080/y", true},
		{"http://[::1]:8080/x", "http://[::1]:8080/y", true},
		// How servers ask for encryption.
		{"http://a.test/x", "https://a.test/x", true},
		{"http://a.test:80/x", "https://a.test:443/x", true},
		{"http://a.test:8080/x", "https://a.test:8080/x", true},
		// Another service on the same host.
		{"http://a.test/x", "http://a.test:8080/x", false},
		{"https://a.test/x", "https://a.test:8443/x", false},
		{"http://a.test/x", "https://a.test:8443/x", false},
		{"http://a.test:8080/x", "https://a.test/x", false},
		{"http://a.test:8080/x", "https://a.test:8443/x", false},
		// Another host.
		{"https://a.test/x", "https://b.test/x", false},
		{"https://a.test/x", "https://sub.a.test/x", false},
		{"https://a.test/x", "https://a.test.b.test/x", false},
		{"https://a.test/x", "//b.test/x", false},
		{"https://a.test/x", "https://a.test@b.test/x", false},
		// In the clear.
		{"https://a.test/x", "http://a.test/x", false},
		{"https://a.test:8443/x", "http://a.test:8443/x", false},
		{"https://a.test/x", "ftp://a.test/x", false},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			h := &hops{status: http.StatusPermanentRedirect, to: []string{tt.to}}
			c := http.Client{Transport: h, CheckRedirect: FollowRedirect}
			req, err := http.NewRequest(method, tt.from, strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Do(req)
			var refused *RedirectError
			if tt.followed != (len(h.seen) == 2) || tt.followed != (err == nil) || !tt.followed && !errors.As(err, &refused) {
				t.Errorf("%s %s to %s: %v, asked for %q", method, tt.from, tt.to, err, h.seen)
			}
		}
	}
}

func TestARedirectRepeatsTheSameRequest(t *testing.T) {
	for status, followed := range map[int]bool{301: false, 302: false, 303: false, 307: true, 308: true} {
		h := &hops{status: status, to: []string{"https://a.test/x"}}
		c := http.Client{Transport: h, CheckRedirect: FollowRedirect}
		_, err := c.Post("http://a.test/x", "text/plain", strings.NewReader("body"))
		if (err == nil) != followed || (len(h.seen) == 2) != followed {
			t.Errorf("a POST answered with %d: %v, asked for %q", status, err, h.seen)
		}
		if err != nil && !strings.Contains(err.Error(), "redirects to https://a.test, in a way that turns a POST into a GET") {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestAChainOfRedirectsIsJudgedStepByStep(t *testing.T) {
	h := &hops{status: 302, to: []string{"https://a.test/x", "http://a.test/x"}}
	if _, err := (&http.Client{Transport: h, CheckRedirect: FollowRedirect}).Get("http://a.test/x"); err == nil || len(h.seen) != 2 {
		t.Errorf("back to plain text: %v, asked for %q", err, h.seen)
	}
	for n, followed := range map[int]bool{maxRedirects: true, maxRedirects + 1: false} {
		h := &hops{status: 302}
		for i := range n {
			h.to = append(h.to, fmt.Sprintf("/%d", i))
		}
		_, err := (&http.Client{Transport: h, CheckRedirect: FollowRedirect}).Get("http://a.test/x")
		if (err == nil) != followed || !followed && !strings.Contains(err.Error(), "again and again") {
			t.Errorf("%d redirects: %v", n, err)
		}
	}
}

func TestTheErrorShowsNoMoreOfTheAddressThanItsHost(t *testing.T) {
	h := &hops{status: 302, to: []string{"https://user:password@b.test:8/path?token=secret"}}
	_, err := (&http.Client{Transport: h, CheckRedirect: FollowRedirect}).Get("http://a.test/")
	var refused *RedirectError
	if !errors.As(err, &refused) || refused.To != "https://b.test:8" ||
		refused.Error() != "the server redirects to https://b.test:8, which is another server" {
		t.Errorf("%v", refused)
	}
}

func TestWhatLiesInTheConfigurationLasts(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{&RedirectError{}, true}, {&tls.CertificateVerificationError{Err: io.EOF}, true}, {x509.UnknownAuthorityError{}, true},
		{x509.HostnameError{Certificate: &x509.Certificate{}}, true}, {tls.RecordHeaderError{}, true},
		{io.ErrUnexpectedEOF, false}, {http.ErrHandlerTimeout, false}, {nil, false},
	} {
		if got := Lasting(fmt.Errorf("ask: %w", tt.err)); got != tt.want {
			t.Errorf("%T: %t", tt.err, got)
		}
	}
}
