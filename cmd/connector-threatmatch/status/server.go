package status

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/page"
)

// Time-outs of the servers: what they send is small, and their clients are near.
const (
	requestTimeout = 5 * time.Second
	answerTimeout  = 10 * time.Second
	idleTimeout    = time.Minute
	scrapes        = 4 // at a time
	// shutdownTimeout is short: the connector has ten seconds to stop, and nobody loses anything here.
	shutdownTimeout = time.Second
)

// Server serves over HTTP until it is closed.
type Server struct {
	http   *http.Server
	ending chan struct{} // closed when it is about to end
	ended  chan error
}

// ServeMetrics listens on the port that the configuration names, for every interface: whoever scrapes is elsewhere.
// [Server.Close] ends it.
func (s *Status) ServeMetrics(cfg config.Connector, version string, log *zap.Logger) (*Server, error) {
	server, err := serve(net.JoinHostPort("", strconv.Itoa(cfg.MetricsPort)), log, func(<-chan struct{}) http.Handler { return s.metricsHandler(cfg, version) })
	if err != nil {
		return nil, fmt.Errorf("serve metrics on port %d; set CONNECTOR_METRICS_PORT to a free one, or CONNECTOR_EXPOSE_METRICS=false: %w", cfg.MetricsPort, err)
	}
	log.Info("serving metrics", zap.String("address", server.http.Addr))
	return server, nil
}

// metricsHandler answers /metrics.
func (s *Status) metricsHandler(cfg config.Connector, version string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", http.TimeoutHandler(atMost(scrapes, newRegistry(s, cfg, version)), answerTimeout, "the figures take too long"))
	return mux
}

// atMost answers so many requests at a time, and refuses the others.
func atMost(n int, answer http.Handler) http.Handler {
	free := make(chan struct{}, n)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case free <- struct{}{}:
			defer func() { <-free }()
			answer.ServeHTTP(w, r)
		default:
			http.Error(w, "too many ask at the same time; ask again later", http.StatusServiceUnavailable)
		}
	})
}

// ServeStatus listens on an address and serves the status page and health there. [Server.Close] ends it.
func (s *Status) ServeStatus(address, version string, log *zap.Logger) (*Server, error) {
	s.about.version = version
	server, err := serve(address, log, s.statusHandler)
	if err != nil {
		return nil, fmt.Errorf("serve the status page and health on %s; set CONNECTOR_STATUS_ADDRESS to a free address, or to off: %w", address, err)
	}
	log.Info("serving the status page and health", zap.String("address", server.http.Addr))
	return server, nil
}

// statusHandler answers what is served at the status address, until ending is closed.
func (s *Status) statusHandler(ending <-chan struct{}) http.Handler {
	mux := http.NewServeMux()
	page.Register(mux, s.Snapshot, ending)
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { writeVerdict(w, s.currentActivity(), s.ailment()) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { writeVerdict(w, s.currentActivity(), s.unready()) })
	return mux
}

// serve listens on an address and answers with the handler, which is told when the server ends.
func serve(address string, log *zap.Logger, handler func(ending <-chan struct{}) http.Handler) (*Server, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	s := &Server{ending: make(chan struct{}), ended: make(chan error, 1)}
	s.http = &http.Server{
		Addr: l.Addr().String(), Handler: handler(s.ending), ReadHeaderTimeout: requestTimeout, ReadTimeout: requestTimeout,
		WriteTimeout: 2 * answerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: 16 << 10,
		ErrorLog: zap.NewStdLog(log.WithOptions(zap.IncreaseLevel(zap.ErrorLevel))),
	}
	go func() { s.ended <- s.http.Serve(l) }()
	return s, nil
}

// Close ends the server and waits for it.
func (s *Server) Close() error {
	close(s.ending)
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
