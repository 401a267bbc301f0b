package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
)

func TestATakenPortEndsTheConnectorAtItsStart(t *testing.T) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	status, _, problems := run(t, configtest.Environ(map[string]string{"CONNECTOR_EXPOSE_METRICS": "true", "CONNECTOR_METRICS_PORT": port}))
	if status != 1 || !strings.Contains(problems, "serve metrics on port "+port) || !strings.Contains(problems, "CONNECTOR_METRICS_PORT") {
		t.Errorf("status %d: %s", status, problems)
	}
}

func TestHealthIsNotAskedForWhereItIsNotServed(t *testing.T) {
	const off = "CONNECTOR_STATUS_ADDRESS="
	for name, env := range map[string][]string{"in a good configuration": append(configtest.Environ(nil), off), "in one that is given elsewhere": {off}, "in a broken one": {"OPENCTI_URL=nowhere", off}} {
		if status, out, problems := run(t, env, "health"); status != 0 || !strings.Contains(out, "CONNECTOR_STATUS_ADDRESS") {
			t.Errorf("%s: status %d, %s%s", name, status, out, problems)
		}
	}
}

func TestTheHealthCommandFailsWithTheReason(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/livez" {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `{"status":"failing","state":"running","reason":"it hangs"}`)
		}
	}))
	defer server.Close()
	env := append(configtest.Environ(map[string]string{"CONNECTOR_STATUS_ADDRESS": server.Listener.Addr().String()}), "HTTP_PROXY=http://127.0.0.1:1")
	if status, _, problems := run(t, env, "health"); status != 1 || !strings.Contains(problems, "it hangs") {
		t.Errorf("status %d: %s", status, problems)
	}
}
