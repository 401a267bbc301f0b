package main

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
)

// Time-outs of the server: what it sends is small, and its clients are near.
const (
	statusRequestTimeout = 5 * time.Second
	statusAnswerTimeout  = 10 * time.Second
	statusIdleTimeout    = time.Minute
	statusScrapes        = 4 // at a time
	// statusShutdown is short: the connector has ten seconds to stop, and nobody loses anything here.
	statusShutdown = time.Second
)

// statusServer serves metrics and health until it is closed.
type statusServer struct {
	http    *http.Server
	address string
	ended   chan error
}

// serveStatus listens on the port that the configuration names, for every interface: whoever scrapes is elsewhere.
func (c *connector) serveStatus() (*statusServer, error) {
	port := c.cfg.Connector.MetricsPort
	l, err := net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("serve metrics on port %d; set CONNECTOR_METRICS_PORT to a free one, or CONNECTOR_EXPOSE_METRICS=false: %w", port, err)
	}
	s := &statusServer{
		http: &http.Server{
			Handler: c.statusHandler(), ReadHeaderTimeout: statusRequestTimeout, ReadTimeout: statusRequestTimeout,
			WriteTimeout: 2 * statusAnswerTimeout, IdleTimeout: statusIdleTimeout, MaxHeaderBytes: 16 << 10,
			ErrorLog: zap.NewStdLog(c.log.WithOptions(zap.IncreaseLevel(zap.ErrorLevel))),
		},
		address: l.Addr().String(),
		ended:   make(chan error, 1),
	}
	go func() { s.ended <- s.http.Serve(l) }()
	c.log.Info("serving metrics and health", zap.String("address", s.address))
	return s, nil
}

// close ends the server and waits for it.
func (s *statusServer) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), statusShutdown)
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

// statusHandler answers /metrics, /healthz and /readyz.
func (c *connector) statusHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(c.newRegistry(), promhttp.HandlerOpts{
		MaxRequestsInFlight: statusScrapes, Timeout: statusAnswerTimeout,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeVerdict(w, c.status.at(), c.status.ailment())
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		reason := ""
		if !c.status.ready() {
			reason = "not registered with OpenCTI yet"
		}
		writeVerdict(w, c.status.at(), reason)
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
