package twins

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// shutdown bounds the end of a server: its clients have gone by then.
const shutdown = 5 * time.Second

// site serves a handler on a free port of the loopback interface.
type site struct {
	server *http.Server
	addr   string
	ended  chan error
}

func newSite(h http.Handler) (*site, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &site{server: &http.Server{Handler: h, ReadHeaderTimeout: shutdown}, addr: l.Addr().String(), ended: make(chan error, 1)}
	go func() { s.ended <- s.server.Serve(l) }()
	return s, nil
}

func (s *site) url() string { return "http://" + s.addr }

func (s *site) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdown)
	defer cancel()
	err := s.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.server.Close())
	}
	if served := <-s.ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
