package orders

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	backfillPath = "/backfill"
	// mostOrder bounds an order, in bytes.
	mostOrder = 64 << 10
	// closeLimit is how long answers under way may take when the server closes.
	closeLimit = time.Second
)

// Server takes orders until it is closed.
type Server struct {
	path   string
	http   *http.Server
	done   chan struct{}
	serves sync.WaitGroup // orders that are being answered
	end    context.CancelFunc
}

// Serve takes orders over a socket in a folder that belongs to the caller alone. The error says that there can be none; the
// connector works without.
func Serve(dir string, desk Desk, log *zap.Logger) (*Server, error) {
	listener, err := listen(dir)
	if err != nil {
		return nil, err
	}
	serving, end := context.WithCancel(context.Background())
	s := &Server{path: socketIn(dir), done: make(chan struct{}), end: end}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+backfillPath, func(w http.ResponseWriter, _ *http.Request) { answer(w, desk.Progress(), nil) })
	mux.HandleFunc("POST "+backfillPath, func(w http.ResponseWriter, r *http.Request) {
		var order Backfill
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, mostOrder)).Decode(&order); err != nil {
			answer(w, Progress{}, fmt.Errorf("read the order: %w: %w", ErrRefused, err))
			return
		}
		progress, err := desk.Backfill(r.Context(), order)
		answer(w, progress, err)
	})
	mux.HandleFunc("DELETE "+backfillPath, func(w http.ResponseWriter, r *http.Request) {
		progress, err := desk.Cancel(r.Context())
		answer(w, progress, err)
	})
	s.http = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.serves.Add(1)
			defer s.serves.Done()
			mux.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return serving },
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Warn("orders are not taken any more", zap.Error(err))
		}
	}()
	return s, nil
}

// Close ends the server, and the socket with it, and waits for who is being served.
func (s *Server) Close() {
	s.end()
	closing, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	if s.http.Shutdown(closing) != nil {
		_ = s.http.Close()
	}
	<-s.done
	s.serves.Wait()
	_ = os.Remove(s.path) // the next one does, else
}

// listen makes the socket in a folder.
func listen(dir string) (*net.UnixListener, error) {
	path := socketIn(dir)
	// One that is left over is nobody's: the folder is the caller's.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove the socket of an earlier process: %w", err)
	}
	var listener *net.UnixListener
	err := reach(dir, func(path string) (err error) {
		listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen for orders: %w", err)
	}
	listener.SetUnlinkOnClose(false) // it knows a path that may be another file's by then
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("keep the socket for orders to its user: %w", err), listener.Close())
	}
	return listener, nil
}

// reply is what goes back.
type reply struct {
	Progress Progress `json:"progress"`
	Error    string   `json:"error,omitempty"`
}

func answer(w http.ResponseWriter, p Progress, err error) {
	w.Header().Set("Content-Type", "application/json")
	said := reply{Progress: p}
	switch {
	case errors.Is(err, ErrRefused):
		w.WriteHeader(http.StatusConflict)
	case err != nil:
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	if err != nil {
		said.Error = err.Error()
	}
	_ = json.NewEncoder(w).Encode(said) // whoever asked has gone, else
}
