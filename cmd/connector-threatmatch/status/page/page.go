// Package page serves the status page: what the connector is at, what limits it and what needs a hand, for people with a browser.
package page

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"net/http"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
)

//go:embed page.css page.js
var files embed.FS

// page answers for what is below its address. Its fields do not change.
type page struct {
	read      func() snapshot.Snapshot
	build     string // differs between programs whose pages differ
	ending    <-chan struct{}
	listeners chan struct{} // holds one for each
	times     times
}

// Register adds the page to mux, at /, its scripts and styles, and what it shows as JSON and as a stream of events. Each asks read,
// which must be safe for concurrent use and quick. The streams end when ending is closed: a server waits for them in its Shutdown.
func Register(mux *http.ServeMux, read func() snapshot.Snapshot, ending <-chan struct{}) {
	register(mux, read, ending, defaultTimes)
}

func register(mux *http.ServeMux, read func() snapshot.Snapshot, ending <-chan struct{}, at times) *page {
	p := &page{read: read, build: build(), ending: ending, listeners: make(chan struct{}, maxListeners), times: at}
	mux.HandleFunc("GET /{$}", p.serveHTML)
	mux.HandleFunc("GET /page.css", p.serveFile("page.css", "text/css; charset=utf-8"))
	mux.HandleFunc("GET /page.js", p.serveFile("page.js", "text/javascript; charset=utf-8"))
	mux.HandleFunc("GET /api/status", p.serveJSON)
	mux.HandleFunc("GET /api/events", p.serveEvents)
	return p
}

// build lets a page that is open notice that the program was replaced by one with other styles, another script or another page.
func build() string {
	hash := sha256.New()
	for _, name := range []string{"page.css", "page.js"} {
		hash.Write(content(name))
	}
	hash.Write(newView(snapshot.Snapshot{}, "").page())
	return hex.EncodeToString(hash.Sum(nil)[:6])
}

func content(name string) []byte {
	b, err := files.ReadFile(name)
	if err != nil {
		panic(err) // it is embedded
	}
	return b
}

// secure sets what every answer says to browsers: it may be looked at here alone, and loads nothing from elsewhere.
func secure(w http.ResponseWriter, contentType, cache string) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", cache)
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
}

// serveHTML answers with the page, which is complete: its script does no more than keep it up to date.
func (p *page) serveHTML(w http.ResponseWriter, _ *http.Request) {
	p.answer(w, "text/html; charset=utf-8", newView(p.read(), p.build).page(), nil)
}

func (p *page) serveJSON(w http.ResponseWriter, _ *http.Request) {
	b, err := json.Marshal(p.read())
	p.answer(w, "application/json", append(b, '\n'), err)
}

func (p *page) answer(w http.ResponseWriter, contentType string, b []byte, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	secure(w, contentType, "no-store")
	_, _ = w.Write(b) // who asked has gone
}

func (p *page) serveFile(name, contentType string) http.HandlerFunc {
	b, tag := content(name), `"`+p.build+`"`
	return func(w http.ResponseWriter, r *http.Request) {
		secure(w, contentType, "no-cache")
		w.Header().Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write(b) // who asked has gone
	}
}
