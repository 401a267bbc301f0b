package endtoend

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// watched is a program whose status address is asked.
type watched struct {
	*world
	*program
	port int
}

func (w *world) watch(changes ...string) *watched {
	w.t.Helper()
	port := freePort(w.t)
	return &watched{w, w.start(append(changes, fmt.Sprintf("CONNECTOR_STATUS_ADDRESS=127.0.0.1:%d", port))...), port}
}

// awaits asks again and again until the snapshot is as it should be.
func (w *watched) awaits(what string, so func(snapshot.Snapshot) bool) snapshot.Snapshot {
	w.world.t.Helper()
	var shot snapshot.Snapshot
	var last string
	defer func() {
		if w.world.t.Failed() {
			w.world.t.Logf("the last snapshot: %s\n%s", last, w.tail())
		}
	}()
	eventually(w.world.t, what, func() bool {
		code, text, err := ask(w.port, "/api/status")
		if err != nil || code != http.StatusOK {
			if w.ended() {
				w.world.t.Fatalf("the program has ended\n%s", w.tail())
			}
			return false
		}
		last = text
		shot = snapshot.Snapshot{}
		if err := json.Unmarshal([]byte(text), &shot); err != nil {
			w.world.t.Fatalf("%v: %s", err, text)
		}
		return so(shot)
	})
	return shot
}

// says is what a probe answers.
func (w *watched) says(probe string) (code int) {
	w.world.t.Helper()
	code, _, err := ask(w.port, probe)
	if err != nil {
		w.world.t.Fatal(err)
	}
	return code
}

func slowest(s snapshot.Snapshot) string {
	for _, station := range s.Way {
		if station.Slowest {
			return station.Name
		}
	}
	return ""
}

func bottleneck(s snapshot.Snapshot) string {
	for _, stage := range s.Stages {
		if stage.Bottleneck {
			return stage.Name
		}
	}
	return ""
}

// Whoever looks at a run under way is told what limits it.
func TestTheStatusTellsWhatLimitsARun(t *testing.T) {
	t.Parallel()
	items := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 5, Profiles: 2000})
	indicators := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 5, Indicators: 300_000})
	for _, tt := range []struct {
		name     string
		api      threatmatchtest.Config
		changes  []string
		hinder   func(*world) // before the program starts
		meantime func(*world) // once messages have arrived, with some more to come
		so       func(snapshot.Snapshot) bool
		unready  bool
	}{
		{
			name: "a throttled API", api: threatmatchtest.Config{Data: items}, changes: []string{"THREATMATCH_RATE_LIMIT=20"},
			so: func(s snapshot.Snapshot) bool {
				return s.Run.WaitsFor == "THREATMATCH_RATE_LIMIT" && slowest(s) == snapshot.ThreatMatch && bottleneck(s) == snapshot.Fetch &&
					s.Run.Remaining > 10 && s.Run.Datasets[0].Left > 0 && s.Stages[0].Rate > 0
			},
		},
		{
			name: "300,000 indicators at 100 ms a page", api: threatmatchtest.Config{Data: indicators, Latency: 100 * time.Millisecond}, changes: []string{"THREATMATCH_RATE_LIMIT=0"},
			so: func(s snapshot.Snapshot) bool {
				iocs := s.Run.Datasets[len(s.Run.Datasets)-1]
				return s.Run.WaitsFor == "ThreatMatch's answers" && slowest(s) == snapshot.ThreatMatch && bottleneck(s) == snapshot.Fetch &&
					iocs.Share > 0 && iocs.Share < 1 && !iocs.Until.IsZero() && s.Run.Sent > 0
			},
		},
		{
			name: "a full queue", api: threatmatchtest.Config{Data: items}, hinder: func(w *world) { w.platform.SetQueue(100_000, 1<<40) },
			so: func(s snapshot.Snapshot) bool {
				return s.Queue.Buffering && s.Queue.Bytes > s.Queue.Threshold && slowest(s) == snapshot.OpenCTI && bottleneck(s) == snapshot.Publish
			},
		},
		{
			name: "a dead broker", api: threatmatchtest.Config{Data: items}, unready: true,
			meantime: func(w *world) { refuse(w, true); w.broker.Drop() },
			so: func(s snapshot.Snapshot) bool {
				for _, station := range s.Way {
					if station.Trouble != (station.Name == snapshot.QueueName) {
						return false
					}
				}
				return slowest(s) == "" && bottleneck(s) == snapshot.Publish && !s.Ready.OK && s.Live.OK
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldConfig{api: tt.api})
			if tt.hinder != nil {
				tt.hinder(w)
			}
			lift := func() {}
			if tt.meantime != nil {
				lift = w.itemGate(items, 60).lift
			}
			p := w.watch(append(tt.changes, "CONNECTOR_RUN_AND_TERMINATE=false")...)
			if tt.meantime != nil {
				eventually(t, "messages arrive", func() bool { return w.broker.Published() > 0 })
				tt.meantime(w)
				lift()
			}
			p.awaits(tt.name, func(s snapshot.Snapshot) bool {
				return s.Run != nil && len(s.Run.Datasets) > 0 && len(s.Stages) == 4 && tt.so(s)
			})
			if code := p.says("/livez"); code != http.StatusOK {
				t.Errorf("/livez: %d", code)
			}
			if code := p.says("/readyz"); (code != http.StatusOK) != tt.unready {
				t.Errorf("/readyz: %d", code)
			}
		})
	}
}

// After a run the end that matters is OpenCTI's.
func TestTheStatusFollowsWhatOpenCTIImports(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: threatmatchtest.Generate(threatmatchtest.Shape{Seed: 5, Alerts: 2, Indicators: 2000})}})
	p := w.watch("CONNECTOR_RUN_AND_TERMINATE=false", "CONNECTOR_LOG_LEVEL=info")
	p.awaits("the run has ended", func(s snapshot.Snapshot) bool { return len(s.History) == 1 })
	w.platform.FailImports(openctitest.Failure{Name: "LOCK_ERROR", Message: "busy"})
	var seen atomic.Bool
	ended, working := make(chan struct{}), make(chan struct{})
	go func() { // a worker that manages a hundred messages a second, and leaves some until the rate was seen
		defer close(ended)
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				if w.depth() > 200 || seen.Load() {
					for _, m := range w.broker.Take(w.queue(), 1) {
						w.platform.Import(m.Body)
					}
				}
			case <-working:
				return
			}
		}
	}()
	defer func() { close(working); <-ended }()
	shot := p.awaits("OpenCTI is slowest, at a rate that says when it is through", func(s snapshot.Snapshot) bool {
		return slowest(s) == snapshot.OpenCTI && s.Imports.Expected >= 2000 && s.Imports.Done > 0 && s.Imports.Lately > 0 && s.Imports.Remaining > 0 && len(s.Imports.Failed) > 0
	})
	locked := snapshot.Count{Name: "LOCK_ERROR", Count: 1} // which others may fail for
	if !slices.Contains(shot.Imports.Failed, locked) || shot.History[0].Purpose != snapshot.Import || shot.History[0].Sent < 2000 || shot.History[0].Failed {
		t.Errorf("%+v, %+v", shot.Imports, shot.History)
	}
	seen.Store(true)
	p.awaits("OpenCTI is through", func(s snapshot.Snapshot) bool { return s.Imports.Left() == 0 && slowest(s) == "" })

	// The next process knows how fast it was, and which run there was.
	p.signal(syscall.SIGTERM)
	p.wants(exitOK)
	again := w.watch("CONNECTOR_RUN_AND_TERMINATE=false")
	again.awaits("the run before is remembered", func(s snapshot.Snapshot) bool {
		return len(s.History) == 2 && s.History[1].Sent == shot.History[0].Sent && s.Imports.Rate > 0
	})
}
