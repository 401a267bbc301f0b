package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Real failures are told apart, each with what an operator can do.
func TestEveryFailureToReachAServerHasItsRemedy(t *testing.T) {
	settings := Settings{Address: "ADDRESS", Authority: "AUTHORITY", Plain: "PLAIN", Encrypted: "ENCRYPTED"}
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	secured := httptest.NewUnstartedServer(http.NotFoundHandler())
	secured.Config.ErrorLog = log.New(io.Discard, "", 0) // the handshakes are meant to fail
	secured.StartTLS()
	defer secured.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	get := func(url string) error {
		transport := NewTransport(Way{})
		defer transport.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(r)
		if err == nil {
			err = resp.Body.Close()
		}
		return err
	}
	for name, tt := range map[string]struct {
		err     error
		kind    string
		lasting bool
		remedy  string
	}{
		"unknown authority":       {get(secured.URL), "authority", true, "AUTHORITY"},
		"TLS where there is none": {get(strings.Replace(plain.URL, "http://", "https://", 1)), "plain", true, "PLAIN"},
		"nothing listens":         {get("http://" + closed.Addr().String()), "refused", false, "ADDRESS"},
		"no TLS where there is":   {errors.New(`malformed HTTP response "\x15\x03\x01\x00\x02\x02"`), "encrypted", true, "ENCRYPTED"},
		"a reset":                 {fmt.Errorf("call: %w", syscall.ECONNRESET), "reset", false, "ADDRESS; if that port speaks TLS, ENCRYPTED"},
		"a broken pipe":           {fmt.Errorf("call: %w", syscall.EPIPE), "reset", false, "ADDRESS; if that port speaks TLS, ENCRYPTED"},
		"end without an answer":   {fmt.Errorf("call: %w", io.EOF), "ended", false, "ENCRYPTED"},
		"unknown name":            {&net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}, "unresolved", true, "ADDRESS"},
		"no DNS":                  {&net.DNSError{Err: "server misbehaving", Name: "x", IsTemporary: true}, "dns", false, "DNS"},
		"time-out":                {fmt.Errorf("call: %w", context.DeadlineExceeded), "timeout", false, "ADDRESS"},
		"redirect":                {&RedirectError{To: "http://elsewhere"}, "redirect", true, "ADDRESS"},
		"anything else":           {errors.New("odd"), "", false, ""},
		"nothing":                 {nil, "", false, ""},
	} {
		if d := Diagnose(tt.err, settings); d.Kind != tt.kind || d.Lasting != tt.lasting || !strings.Contains(d.String(), tt.remedy) {
			t.Errorf("%s: %v is %+v", name, tt.err, d)
		}
	}
}

// The words are those of Go's server, nginx and Apache.
func TestAServerThatAsksForTLSIsUnderstood(t *testing.T) {
	for body, want := range map[string]bool{
		"Client sent an HTTP request to an HTTPS server.\n":                                          true,
		"<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>": true,
		"<p>Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />":                 true,
		`{"error":"invalid_request"}`:                                                                false,
	} {
		if got := AsksForTLS(http.StatusBadRequest, body); got != want {
			t.Errorf("%s: %t", body, got)
		}
		if AsksForTLS(http.StatusNotFound, body) {
			t.Errorf("%s with a 404 asks for TLS", body)
		}
	}
}
