package preview

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// stopwatch measures how long the API takes to answer, from the request to the end of the answer.
type stopwatch struct {
	carrier http.RoundTripper

	mu    sync.Mutex
	items timing
	pages timing
}

// timing is what answers of a kind took.
type timing struct {
	answers int
	took    time.Duration
}

// average is what one takes, 0 where there was none.
func (t timing) average() time.Duration {
	if t.answers == 0 {
		return 0
	}
	return t.took / time.Duration(t.answers)
}

// RoundTrip carries a request and measures until its answer is closed.
func (s *stopwatch) RoundTrip(r *http.Request) (*http.Response, error) {
	began := time.Now()
	answer, err := s.carrier.RoundTrip(r)
	if err != nil || answer.StatusCode != http.StatusOK {
		return answer, err
	}
	if kind := s.kind(r.URL.Path); kind != nil {
		answer.Body = &timedBody{answer.Body, sync.OnceFunc(func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			kind.answers++
			kind.took += time.Since(began)
		})}
	}
	return answer, nil
}

// kind is where answers to a path are counted, nil for those that do not matter.
func (s *stopwatch) kind(path string) *timing {
	switch {
	case strings.Contains(path, "/api/stix/"):
		return &s.items
	case strings.HasSuffix(path, "/api/taxii/objects"):
		return &s.pages
	}
	return nil
}

// timings are what was measured so far.
func (s *stopwatch) timings() (items, pages timing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.items, s.pages
}

// CloseIdleConnections closes what no request uses.
func (s *stopwatch) CloseIdleConnections() {
	if c, ok := s.carrier.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// timedBody calls ended when it is closed.
type timedBody struct {
	io.ReadCloser
	ended func()
}

// Close ends the measuring.
func (b *timedBody) Close() error {
	b.ended()
	return b.ReadCloser.Close()
}
