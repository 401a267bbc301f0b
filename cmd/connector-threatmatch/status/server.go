package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
)

// Time-outs of the server: what it sends is small, and its clients are near.
const (
	requestTimeout = 5 * time.Second
	answerTimeout  = 10 * time.Second
	idleTimeout    = time.Minute
	scrapes        = 4 // at a time
	// shutdownTimeout is short: the connector has ten seconds to stop, and nobody loses anything here.
	shutdownTimeout = time.Second
)

// Server serves metrics and health until it is closed.
type Server struct {
	http  *http.Server
	ended chan error
}

// Serve listens on the port that the configuration names, for every interface: whoever scrapes is elsewhere. It tells of
// the connector what the status knows. [Server.Close] ends it.
func (s *Status) Serve(cfg config.Connector, version string, log *zap.Logger) (*Server, error) {
	port := cfg.MetricsPort
	l, err := net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("serve metrics on port %d; set CONNECTOR_METRICS_PORT to a free one, or CONNECTOR_EXPOSE_METRICS=false: %w", port, err)
	}
	server := &Server{
		http: &http.Server{
			Handler: s.handler(cfg, version), ReadHeaderTimeout: requestTimeout, ReadTimeout: requestTimeout,
			WriteTimeout: 2 * answerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: 16 << 10,
			ErrorLog: zap.NewStdLog(log.WithOptions(zap.IncreaseLevel(zap.ErrorLevel))),
		},
		ended: make(chan error, 1),
	}
	go func() { server.ended <- server.http.Serve(l) }()
	log.Info("serving metrics and health", zap.String("address", l.Addr().String()))
	return server, nil
}

// Close ends the server and waits for it.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	if served := <-s.ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// handler answers /metrics, /healthz and /readyz.
func (s *Status) handler(cfg config.Connector, version string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(newRegistry(s, cfg, version), promhttp.HandlerOpts{
		MaxRequestsInFlight: scrapes, Timeout: answerTimeout,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeVerdict(w, s.currentActivity(), s.ailment())
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		writeVerdict(w, s.currentActivity(), s.unready())
	})
	return mux
}

// verdict is the answer about health.
type verdict struct {
	Status string   `json:"status"` // ok or failing
	State  activity `json:"state"`
	Reason string   `json:"reason,omitempty"`
}

func writeVerdict(w http.ResponseWriter, at activity, reason string) {
	v, code := verdict{Status: "ok", State: at}, http.StatusOK
	if reason != "" {
		v.Status, v.Reason, code = "failing", reason, http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // who asked has gone
}
