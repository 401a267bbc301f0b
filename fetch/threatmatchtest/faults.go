package threatmatchtest

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
)

// Fault answers a call in place of the server. It may get the honest answer from next.
type Fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

// Rule says which calls meet a fault. Among the rules that match, the first to be added whose From and To fit answers.
type Rule struct {
	// Path is a pattern of [path.Match] or a prefix with * behind it, "" for any path. It is matched with the path as sent.
	Path string
	// From and To number the first and the last call, among those that Path matches since the rule was added,
	// that meets the fault. Numbers begin at 1; From 0 means 1, and To that is not positive means for ever.
	From, To int
	Do       Fault
}

// counted is a rule and how many calls its Path has matched.
type counted struct {
	Rule
	seen int
}

// faults are the rules in force.
type faults struct {
	mu    sync.Mutex
	rules []*counted
}

// Fault adds a rule.
func (f *faults) Fault(rule Rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, &counted{Rule: rule})
}

// ClearFaults takes all rules away. Calls under way keep the fault that they met.
func (f *faults) ClearFaults() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
}

// next counts a call and returns the fault that it meets, nil for none.
func (f *faults) next(path string) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	var met Fault
	for _, r := range f.rules {
		if !matches(r.Path, path) {
			continue
		}
		r.seen++
		if met == nil && r.seen >= r.From && (r.To <= 0 || r.seen <= r.To) {
			met = r.Do
		}
	}
	return met
}

// matches tells whether a pattern, "" for all, a prefix with * behind it, or one of [path.Match], matches a path.
func matches(pattern, p string) bool {
	if pattern == "" {
		return true
	}
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok && !strings.ContainsAny(prefix, `*?[\`) {
		return strings.HasPrefix(p, prefix)
	}
	ok, _ := path.Match(pattern, p)
	return ok
}

// Status answers with a status and headers, given as names and values by turns.
func Status(code int, header ...string) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		refuse(w, code, http.StatusText(code))
	}
}

// Unauthorized answers with a 401, whatever the token.
func Unauthorized() Fault { return Status(http.StatusUnauthorized, "WWW-Authenticate", "Bearer") }

// RetryAfter answers with a 429 and a Retry-After of any value.
func RetryAfter(value string) Fault { return Status(http.StatusTooManyRequests, "Retry-After", value) }

// Body answers with a 200 and a body of any kind that claims to be JSON.
func Body(raw string) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
		_, _ = io.WriteString(w, raw)
	}
}

// ErrorBody answers with a 200 that carries an error instead of data.
func ErrorBody() Fault { return Body(`{"error":"Internal error, please try again later"}`) }

// HTML answers with a 200 and a web page, as a proxy in between might.
func HTML() Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<!DOCTYPE html>\n<html><head><title>Just a moment</title></head>"+
			"<body><h1>The service is being updated</h1><p>Please come back in a few minutes.</p></body></html>\n")
	}
}

// Repeat answers the first call honestly and every later one with the very same bytes.
func Repeat() Fault {
	var mu sync.Mutex
	var first []byte
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		status, header, body := record(r, next)
		mu.Lock()
		if first == nil {
			first = body
		}
		body = first
		mu.Unlock()
		copyHeader(w.Header(), header)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(status)
		_, _ = w.Write(body)
	}
}

// Truncated answers honestly, but hangs up after n bytes of the body. A body that is not longer loses its last byte.
func Truncated(n int) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		status, header, body := record(r, next)
		copyHeader(w.Header(), header)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(status)
		_, _ = w.Write(body[:max(0, min(n, len(body)-1))])
		_ = http.NewResponseController(w).Flush()
		// A body shorter than its Content-Length makes net/http close the connection.
	}
}

// Reset ends the connection with a RST and no answer.
func Reset() Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			// HTTP/2 cannot hijack: its stream is reset instead.
			panic(http.ErrAbortHandler)
		}
		if wrapped, ok := conn.(interface{ NetConn() net.Conn }); ok {
			conn = wrapped.NetConn() // below TLS, which would say goodbye
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
}

// Slow answers honestly, but only after a delay in which not even a header is sent.
func Slow(firstByte time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if wait(r.Context(), firstByte) {
			next.ServeHTTP(w, r)
		}
	}
}

// Endless answers with a well-formed body that goes on until the client hangs up.
func Endless() Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
		endless(w, r)
	}
}

// EndlessGzip is Endless in a gzip stream: a thousandth of it travels.
func EndlessGzip() Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		endless(z, r)
		_ = z.Close()
	}
}

func endless(w io.Writer, r *http.Request) {
	open, element := `{"objects":[`, `{"type":"identity","id":"identity--00000000-0000-4000-8000-000000000000","name":"x"},`
	if strings.HasSuffix(r.URL.Path, "/all") {
		open, element = `{"list":[`, `1,`
	}
	if _, err := io.WriteString(w, open); err != nil {
		return
	}
	block := bytes.Repeat([]byte(element), (32<<10)/len(element))
	for r.Context().Err() == nil {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

// record returns the honest answer, uncompressed.
func record(r *http.Request, next http.Handler) (status int, header http.Header, body []byte) {
	plain := r.Clone(r.Context())
	plain.Header.Del("Accept-Encoding")
	rec := &recorder{status: http.StatusOK, header: make(http.Header)}
	next.ServeHTTP(rec, plain)
	return rec.status, rec.header, rec.body.Bytes()
}

func copyHeader(to, from http.Header) {
	for name, values := range from {
		to[name] = values
	}
}

// recorder keeps an answer.
type recorder struct {
	status int
	header http.Header
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
