package endtoend

import (
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// concurrency is how many items of a dataset the program fetches side by side: so many of its calls stand at a gate.
const concurrency = 8

// gate lets calls of the API pass up to a place and holds those behind it, so that a run stands where a test wants it.
type gate struct {
	place func(*http.Request) int

	mu    sync.Mutex
	open  int           // the calls whose place is below it pass
	moved chan struct{} // closed when open moves
	held  int           // calls that stand at the gate since then
	left  int           // calls that were given up there
}

// gate holds the calls of a path whose place is open or more. It stays until the API's faults are cleared and it is moved.
func (w *world) gate(path string, open int, place func(*http.Request) int) *gate {
	g := &gate{place: place, open: open, moved: make(chan struct{})}
	w.api.Fault(threatmatchtest.Rule{Path: path, Do: g.serve})
	return g
}

// itemGate lets so many items of each dataset pass, the ones with the lowest ids.
func (w *world) itemGate(data threatmatchtest.Data, open int) *gate {
	places := map[string]int{}
	for _, dataset := range []string{fetch.ProfilesDataset, fetch.AlertsDataset} {
		for i, id := range slices.Sorted(data.IDs(dataset, time.Time{})) {
			places["/api/stix/"+dataset+"/"+strconv.FormatInt(id, 10)] = i
		}
	}
	return w.gate("/api/stix/*", open, func(r *http.Request) int { return places[r.URL.EscapedPath()] })
}

func (g *gate) serve(rw http.ResponseWriter, r *http.Request, next http.Handler) {
	for place := g.place(r); !g.pass(r, place); {
		if r.Context().Err() != nil {
			return
		}
	}
	next.ServeHTTP(rw, r)
}

// pass reports whether the gate is open to a call; if not, it has waited until it moved or the call was given up.
func (g *gate) pass(r *http.Request, place int) bool {
	g.mu.Lock()
	if place < g.open {
		g.mu.Unlock()
		return true
	}
	moved := g.moved
	g.held++
	g.mu.Unlock()
	gone := false
	select {
	case <-moved:
	case <-r.Context().Done():
		gone = true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if gone {
		g.left++
		if g.moved == moved {
			g.held--
		}
	}
	return false
}

// move opens the gate to the calls before another place.
func (g *gate) move(open int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open, g.held = open, 0
	close(g.moved)
	g.moved = make(chan struct{})
}

// lift lets everything pass.
func (g *gate) lift() { g.move(1 << 30) }

// awaits waits until so many calls stand at the gate: all before them were answered, and the answers were read.
func (g *gate) awaits(t *testing.T, calls int) {
	t.Helper()
	eventually(t, strconv.Itoa(calls)+" calls stand at the gate", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.held == calls
	})
}

// settles waits until all items that pass the gate are delivered and committed.
func (g *gate) settles(w *world, data threatmatchtest.Data) {
	w.t.Helper()
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	w.awaitsState("all items before the gate are committed", func(c claims) bool {
		for _, dataset := range []string{fetch.ProfilesDataset, fetch.AlertsDataset} {
			last := strconv.FormatInt(slices.Sorted(data.IDs(dataset, time.Time{}))[open-1], 10)
			if pass := c.Datasets[dataset].Pass; pass == nil || pass.After != last {
				return false
			}
		}
		return true
	})
}

// awaitsState waits for a state that says something.
func (w *world) awaitsState(what string, says func(claims) bool) {
	w.t.Helper()
	eventually(w.t, what, func() bool { return says(parseState(w.t, w.platform.State())) })
}

// abandoned is how many calls were given up at the gate.
func (g *gate) abandoned() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.left
}
