package page

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
)

// maxListeners is how many may have the page open: each costs a drawing a second.
const maxListeners = 16

// times are those of a stream of events.
type times struct {
	look   time.Duration // between two looks at whether something has changed
	repeat time.Duration // an event is sent after this even if nothing has: the page tells by it that the connector is still there
	write  time.Duration // for one event; a client that takes longer is gone
}

var defaultTimes = times{look: time.Second, repeat: 10 * time.Second, write: 10 * time.Second}

// serveEvents sends the part of the page that changes, drawn as the page itself is, once at the start and then whenever it has
// changed, until the client or the connector goes.
func (p *page) serveEvents(w http.ResponseWriter, r *http.Request) {
	select {
	case p.listeners <- struct{}{}:
		defer func() { <-p.listeners }()
	default:
		w.Header().Set("Retry-After", "10")
		http.Error(w, "the page is open too often; close one", http.StatusServiceUnavailable)
		return
	}
	secure(w, "text/event-stream", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy would keep events back
	if r.Method == http.MethodHead {
		return
	}
	s := stream{page: p, to: w, control: http.NewResponseController(w)}
	if !s.tell() {
		return
	}
	ticker := time.NewTicker(p.times.look)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if !s.tell() {
				return
			}
		case <-r.Context().Done():
			return
		case <-p.ending:
			s.sentAt = time.Time{} // the last word
			s.tell()
			return
		}
	}
}

// stream is what one listener is sent.
type stream struct {
	page    *page
	to      http.ResponseWriter
	control *http.ResponseController
	sent    []byte // what was known when something was sent last
	sentAt  time.Time
}

// tell sends an event if there is reason to, and returns whether the client is still there.
func (s *stream) tell() bool {
	now := s.page.read()
	known, err := withoutClock(now)
	if err != nil {
		return false
	}
	if time.Since(s.sentAt) < s.page.times.repeat && bytes.Equal(known, s.sent) {
		return true
	}
	live := drawn(newView(now, s.page.build).live())
	if s.control.SetWriteDeadline(time.Now().Add(s.page.times.write)) != nil {
		return false
	}
	if _, err := s.to.Write(event(live)); err != nil || s.control.Flush() != nil {
		return false
	}
	s.sent, s.sentAt = known, time.Now()
	return true
}

// withoutClock is what of a snapshot is worth an event when it changes.
func withoutClock(s snapshot.Snapshot) ([]byte, error) {
	s.At = time.Time{}
	return json.Marshal(s)
}

// event frames HTML. To a browser each kind of line end is one, in HTML and in events, where none may begin a field.
func event(html []byte) []byte {
	html = bytes.ReplaceAll(html, []byte("\r\n"), []byte("\n"))
	html = bytes.ReplaceAll(html, []byte("\r"), []byte("\n"))
	framed := []byte("retry: 2000\n")
	for line := range bytes.Lines(html) {
		framed = append(framed, "data: "...)
		framed = append(framed, bytes.TrimSuffix(line, []byte("\n"))...)
		framed = append(framed, '\n')
	}
	return append(framed, '\n')
}
