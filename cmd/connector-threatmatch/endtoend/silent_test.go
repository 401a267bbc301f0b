package endtoend

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/connector"
)

// carrier carries requests as a test says.
type carrier func(*http.Request) (*http.Response, error)

func (c carrier) RoundTrip(r *http.Request) (*http.Response, error) { return c(r) }

func fails(err error) carrier {
	return func(*http.Request) (*http.Response, error) { return nil, err }
}

func says(status int, kind, body string) carrier {
	return func(r *http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: status, Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(strings.NewReader(body)), Request: r,
		}, nil
	}
}

// An OpenCTI that cannot be reached when the connector starts is told of at the default level, once, with what to do: within five
// seconds where waiting will not mend it, else within fifteen.
func TestWhyOpenCTICannotBeReachedIsToldInTime(t *testing.T) {
	t.Parallel()
	const soon, later = 6 * time.Second, 15 * time.Second // five, and what chance adds to the pauses between attempts
	for name, tt := range map[string]struct {
		carrier carrier
		within  time.Duration
		remedy  string
	}{
		"unknown host":      {fails(&net.DNSError{Err: "no such host", IsNotFound: true}), soon, "the DNS of this machine or container, and OPENCTI_URL"},
		"unknown authority": {fails(x509.UnknownAuthorityError{}), soon, "HTTPS_CA_CERTIFICATES"},
		"another name":      {fails(x509.HostnameError{Certificate: &x509.Certificate{}, Host: "opencti"}), soon, "check OPENCTI_URL"},
		"TLS to plain port": {fails(http.ErrSchemeMismatch), soon, "http://"},
		"plain to TLS port": {fails(errors.New(`net/http: HTTP/1.x transport connection broken: malformed HTTP response "\x15\x03\x01\x00\x02\x02"`)), soon, "https://"},
		"page of a website": {says(200, "text/html", "<html><title>Welcome</title></html>"), soon, "is OPENCTI_URL this OpenCTI's base URL"},
		"not found":         {says(404, "text/html", "<html><title>404</title></html>"), soon, "is OPENCTI_URL this OpenCTI's base URL"},
		"another API":       {says(404, "application/json", `{"error":"not found"}`), soon, "is OPENCTI_URL this OpenCTI's base URL"},
		"another answer":    {says(200, "application/json", `{"status":"ok"}`), soon, "is OPENCTI_URL this OpenCTI's base URL"},
		"method refused":    {says(405, "text/plain", "no"), soon, "is OPENCTI_URL this OpenCTI's base URL"},
		"wrong token": {says(200, "application/json", `{"data":null,"errors":[{"name":"AUTH_REQUIRED","message":"You must be logged in to do this.","extensions":{"code":"AUTH_REQUIRED"}}]}`),
			soon, "OPENCTI_TOKEN"},
		"refused connection": {fails(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}), later, "check that it runs, and OPENCTI_URL"},
		"no route":           {fails(&net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}), later, "network"},
		"bad gateway":        {says(502, "text/html", "<html><title>Bad Gateway</title></html>"), later, "does not answer"},
		"frozen": {func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}, 45 * time.Second, "see whether it hangs or is overloaded"},
		"dropped packets": {func(r *http.Request) (*http.Response, error) {
			select {
			case <-time.After(10 * time.Second): // the transport's limit
				return nil, &net.OpError{Op: "dial", Err: context.DeadlineExceeded}
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
		}, later, "firewall"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zap.ErrorLevel)
				ctx, cancel := context.WithTimeoutCause(t.Context(), 9*time.Minute, errors.New("told to stop"))
				defer cancel()
				began := time.Now()
				cfg, _, err := config.Load("", false, []string{
					"OPENCTI_URL=http://opencti.test", "OPENCTI_TOKEN=token", "CONNECTOR_ID=" + bubbleID, "CONNECTOR_STATE_DIR=" + dir,
					"THREATMATCH_CLIENT_ID=someone", "THREATMATCH_CLIENT_SECRET=something", "CONNECTOR_STATUS_ADDRESS=off",
				})
				must(t, err)
				if err := connector.Run(ctx, cfg, zap.New(core), connector.Options{Carriers: connector.Carriers{Platform: tt.carrier}}); err != nil {
					t.Errorf("a connector that stays ended with %v", err)
				}
				told := logs.All()
				if len(told) != 1 || !strings.Contains(told[0].Message, tt.remedy) {
					t.Fatalf("told %v, want one line with %q", told, tt.remedy)
				}
				if after := told[0].Time.Sub(began); after > tt.within {
					t.Errorf("told after %s: %v", after, told)
				}
			})
		})
	}
}
