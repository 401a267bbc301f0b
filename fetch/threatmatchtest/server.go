package threatmatchtest

import (
	"context"
	"io"
	"iter"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/time/rate"
)

// What a Config that leaves them out stands for.
const (
	DefaultClientID     = "sandbox"
	DefaultClientSecret = "sandbox-secret"
	// defaultPageSize is what the real API was seen to send.
	defaultPageSize      = 100
	defaultTokenLifetime = time.Hour
	// defaultKeepCalls holds a run over a million indicators and tens of thousands of items, in some 20 MB.
	defaultKeepCalls = 100_000
)

// Data is what a server serves. Its methods are called by many goroutines at once; what they return must not be changed
// afterwards by anybody.
type Data interface {
	// IDs yields the ids of a dataset's items whose date is since or later.
	IDs(dataset string, since time.Time) iter.Seq[int64]
	// Item returns the JSON array of the item's objects, and whether the dataset has such an item.
	Item(dataset, id string) (objects []byte, ok bool)
	// Indicators returns the first limit indicators, in order of modified, whose modified lies behind after (or at it, if
	// inclusive), each as the text of one JSON object, and whether there are more behind them.
	Indicators(after time.Time, inclusive bool, limit int) (objects [][]byte, more bool)
}

// Config says what a server serves and how. Only Data is needed.
type Config struct {
	Data Data
	// ClientID and ClientSecret are what the token endpoint accepts: DefaultClientID and DefaultClientSecret if empty.
	ClientID, ClientSecret string
	// PageSize is the number of indicators a page, 100 if zero.
	PageSize int
	// Latency passes before each answer.
	Latency time.Duration
	// Inclusive makes modifiedAfter mean "at or after" instead of "after".
	Inclusive bool
	// TokenLifetime is how long a token is accepted, an hour if zero.
	TokenLifetime time.Duration
	// RateLimit is the number of requests a second, with bursts of as many, above which the answer is a 429 with
	// Retry-After; 0 means no limit.
	RateLimit float64
	// Now is the server's clock, which the Date header shows too: time.Now if nil.
	Now func() time.Time
	// NoGzip sends every answer uncompressed, even to clients that accept gzip.
	NoGzip bool
	// KeepCalls bounds how many of the latest calls Server.Calls and Server.Count know of: 100,000 if zero.
	KeepCalls int
	// OnCall is called before each answer, when the latency has passed, with a Call whose Status is still zero. It may
	// change the data and the server's faults.
	OnCall func(Call)
}

func (c Config) withDefaults() Config {
	if c.ClientID == "" {
		c.ClientID = DefaultClientID
	}
	if c.ClientSecret == "" {
		c.ClientSecret = DefaultClientSecret
	}
	if c.PageSize <= 0 {
		c.PageSize = defaultPageSize
	}
	if c.TokenLifetime <= 0 {
		c.TokenLifetime = defaultTokenLifetime
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.KeepCalls <= 0 {
		c.KeepCalls = defaultKeepCalls
	}
	return c
}

// Server answers as ThreatMatch does. It is safe for concurrent use.
type Server struct {
	config Config
	tokens tokens
	faults faults
	calls  callLog
	limit  *rate.Limiter // nil when there is none
	zip    sync.Pool     // of *gzip.Writer
}

// New returns a server of config.Data.
func New(config Config) *Server {
	s := &Server{config: config.withDefaults()}
	s.calls.keep = s.config.KeepCalls
	if r := s.config.RateLimit; r > 0 {
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
	authorized := s.tokens.check(r.Header.Get("Authorization"), now)
	answer := &answer{ResponseWriter: w, log: &s.calls, seq: s.calls.begin(call)}
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
	fault := s.faults.next(call.Path)
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
		handle = groups
	case path == "taxii/objects":
		handle = s.indicators
	case len(part) == 2 && isDataset(part[0]) && part[1] == "all":
		handle = func(w http.ResponseWriter, r *http.Request) { s.list(w, r, part[0]) }
	case len(part) == 3 && part[0] == "stix" && isDataset(part[1]):
		handle = func(w http.ResponseWriter, r *http.Request) { s.item(w, part[1], part[2]) }
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

func isDataset(name string) bool { return name == "profiles" || name == "alerts" || name == "reports" }

// refuse answers with an error as the API words it.
func refuse(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A client that has gone is nobody to tell; the same holds for every write below.
	_, _ = io.WriteString(w, `{"error":`+strconv.Quote(message)+`}`)
}

// single returns a query parameter that must be there exactly once.
func single(query url.Values, name string) (string, bool) {
	v := query[name]
	if len(v) != 1 {
		return "", false
	}
	return v[0], true
}

// wait waits for d and tells whether it passed before ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// zipped compresses what is written to it.
type zipped struct {
	http.ResponseWriter
	zip *gzip.Writer
}

func (z *zipped) Write(p []byte) (int, error) { return z.zip.Write(p) }
