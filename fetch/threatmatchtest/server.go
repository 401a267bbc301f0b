package threatmatchtest

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/time/rate"
)

// Server answers as ThreatMatch does. It is safe for concurrent use.
type Server struct {
	config Config
	tokens
	faults
	callLog
	limit *rate.Limiter // nil when there is none
	zip   sync.Pool     // of *gzip.Writer
}

// New returns a server of config.Data.
func New(config Config) *Server {
	config = config.withDefaults()
	s := &Server{config: config, tokens: tokens{config: config}, callLog: callLog{keep: config.KeepCalls}}
	if r := config.RateLimit; r > 0 {
		s.limit = rate.NewLimiter(rate.Limit(r), max(1, int(math.Ceil(r))))
	}
	s.zip.New = func() any {
		z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // fails only on an unknown level
		return z
	}
	return s
}

// ServeHTTP answers one call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := s.config.Now()
	call := Call{Path: r.URL.EscapedPath(), Query: r.URL.RawQuery}
	authorized := s.check(r.Header.Get("Authorization"), now)
	answer := &answer{ResponseWriter: w, log: &s.callLog, seq: s.begin(call)}
	answer.Header().Set("Date", now.UTC().Format(http.TimeFormat))
	if !wait(r.Context(), s.config.Latency) {
		return
	}
	if s.config.OnCall != nil {
		s.config.OnCall(call)
	}
	// The limit stands in front of the faults, so that calls which meet one count too.
	if wait := s.overLimit(); wait > 0 {
		answer.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
		refuse(answer, http.StatusTooManyRequests, "too many requests")
		return
	}
	fault := s.next(call.Path)
	honest := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.honest(w, r, authorized) })
	if fault != nil {
		fault(answer, r, honest)
		return
	}
	honest(answer, r)
}

// honest answers as the real API would, compressed for a client that accepts it.
func (s *Server) honest(w http.ResponseWriter, r *http.Request, authorized bool) {
	if !s.config.NoGzip && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		z := s.zip.Get().(*gzip.Writer)
		z.Reset(w)
		defer func() {
			// A client that has gone is nobody to tell.
			_ = z.Close()
			s.zip.Put(z)
		}()
		w.Header().Set("Content-Encoding", "gzip")
		w = &zipped{ResponseWriter: w, zip: z}
	}
	s.route(w, r, authorized)
}

// overLimit returns how long to wait until a request is allowed again, 0 if this one is.
func (s *Server) overLimit() time.Duration {
	if s.limit == nil {
		return 0
	}
	now := s.config.Now()
	reservation := s.limit.ReserveN(now, 1)
	delay := reservation.DelayFrom(now)
	if delay > 0 {
		reservation.CancelAt(now)
	}
	return delay
}

func (s *Server) route(w http.ResponseWriter, r *http.Request, authorized bool) {
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), "/api/")
	if !ok {
		refuse(w, http.StatusNotFound, "no such resource")
		return
	}
	if path == "developers-platform/token" {
		s.token(w, r)
		return
	}
	part := strings.Split(path, "/")
	var handle func(http.ResponseWriter, *http.Request)
	switch {
	case path == "taxii/groups":
		handle = serveGroups
	case path == "taxii/objects":
		handle = func(w http.ResponseWriter, r *http.Request) { serveIndicators(w, r, s.config) }
	case len(part) == 2 && isDataset(part[0]) && part[1] == "all":
		handle = func(w http.ResponseWriter, r *http.Request) { serveList(w, r, s.config.Data, part[0]) }
	case len(part) == 3 && part[0] == "stix" && isDataset(part[1]):
		handle = func(w http.ResponseWriter, _ *http.Request) { serveItem(w, s.config.Data, part[1], part[2]) }
	}
	switch {
	case handle == nil:
		refuse(w, http.StatusNotFound, "no such resource")
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		refuse(w, http.StatusMethodNotAllowed, "method not allowed")
	case !authorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
		refuse(w, http.StatusUnauthorized, "unauthorized")
	case !strings.Contains(r.Header.Get("Accept"), "application/json"):
		refuse(w, http.StatusNotAcceptable, "only application/json is served")
	default:
		handle(w, r)
	}
}

func isDataset(name string) bool {
	_, ok := datasetOf(name)
	return ok
}
