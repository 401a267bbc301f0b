package threatmatchtest

import (
	"net/http"
	"strings"
	"sync"
)

// Call is one request that reached the server.
type Call struct {
	Path  string // as sent, escaped
	Query string // as sent, encoded
	// Status is the status of the answer, zero when none was sent (yet).
	Status int
}

// callLog is a ring of the latest calls.
type callLog struct {
	keep int

	mu    sync.Mutex
	begun int
	ring  []Call
}

// begin notes a call and returns its number.
func (l *callLog) begin(c Call) int {
	// The strings of a request are parts of a larger one that would be kept alive.
	c.Path, c.Query = strings.Clone(c.Path), strings.Clone(c.Query)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ring) < l.keep {
		l.ring = append(l.ring, c)
	} else {
		l.ring[l.begun%l.keep] = c
	}
	l.begun++
	return l.begun - 1
}

// answered notes the status of call number seq, unless it has been forgotten.
func (l *callLog) answered(seq, status int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq >= l.begun-l.keep {
		l.ring[seq%l.keep].Status = status
	}
}

// Calls returns the latest calls in the order of their arrival, at most Config.KeepCalls of them.
func (l *callLog) Calls() []Call {
	l.mu.Lock()
	defer l.mu.Unlock()
	oldest := 0
	if l.begun > l.keep {
		oldest = l.begun % l.keep
	}
	return append(append(make([]Call, 0, len(l.ring)), l.ring[oldest:]...), l.ring[:oldest]...)
}

// Count returns how many of the calls that Calls returns went to a path that the pattern matches, as a Rule's Path does.
func (l *callLog) Count(pathPattern string) int {
	n := 0
	for _, c := range l.Calls() {
		if matches(pathPattern, c.Path) {
			n++
		}
	}
	return n
}

// answer notes the status of an answer before its first byte is sent, so that who has the answer finds it noted.
type answer struct {
	http.ResponseWriter
	log   *callLog
	seq   int
	wrote bool
}

func (a *answer) WriteHeader(status int) {
	if !a.wrote {
		a.wrote = true
		a.log.answered(a.seq, status)
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	if !a.wrote {
		a.WriteHeader(http.StatusOK)
	}
	return a.ResponseWriter.Write(p)
}

// Unwrap lets an [http.ResponseController] flush and hijack.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
