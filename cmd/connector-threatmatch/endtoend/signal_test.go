package endtoend

import (
	"errors"
	"io"
	"log"
	"net/http"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

func silentLog() *log.Logger { return log.New(io.Discard, "", 0) }

// fetched counts how often each item and page was answered with what was asked for.
func fetched(calls []threatmatchtest.Call) map[string]int {
	n := make(map[string]int)
	for _, c := range calls {
		switch {
		case c.Status != 200:
		case strings.HasPrefix(c.Path, "/api/stix/"):
			n[c.Path]++
		case c.Path == indicatorsPath:
			n[path.Join(c.Path, c.Query)]++
		}
	}
	return n
}

func TestASignalEndsARunCleanlyAndTheNextGoesOn(t *testing.T) {
	t.Parallel()
	data := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 11, Profiles: 100, Alerts: 100, Indicators: 600})
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data, PageSize: 20}})
	var asked atomic.Int64
	items, pages := w.itemGate(data, 32), w.gate(indicatorsPath, 10, func(*http.Request) int { return int(asked.Add(1)) - 1 })
	p := w.start()
	pages.awaits(t, 1)
	items.settles(w, data)
	w.awaitsState("indicators are committed", func(c claims) bool {
		pass := c.Datasets[fetch.IndicatorsDataset].Pass
		return pass != nil && pass.After != ""
	})
	items.move(45) // not a page, which the stopped program still has to deliver
	items.awaits(t, 2*concurrency)
	p.signal(syscall.SIGTERM)
	p.wants(exitRunFailed)
	work := w.lastWork()
	if work.Closed != 1 {
		t.Errorf("the work was closed %d times", work.Closed)
	}
	before := w.take()
	w.checkBooks(before, true)
	if state := parseState(t, w.platform.State()); !state.LastRun.IsZero() {
		t.Errorf("last_run stands after a run that was cut short: %s", w.platform.State())
	}
	first := w.api.Calls()
	items.lift()
	pages.lift()
	w.run(exitOK)
	done, again := fetched(first), fetched(w.api.Calls()[len(first):])
	if want := 2*45 + 10; len(done) != want {
		t.Errorf("%d items and pages were finished before the signal, want %d", len(done), want)
	}
	for call := range done {
		if again[call] > 0 {
			t.Errorf("%s was finished before the signal, and fetched again", call)
		}
	}
	after := w.take()
	all := append(before, after...)
	checkOrder(t, all)
	checkOnce(t, all)
	checkHeld(t, all, held(t, data, defaultMapping))
	w.checkLastWork(after)
}

// checkLastWork wants the last work to stand for these messages, not in error.
func (w *world) checkLastWork(messages []delivery) {
	w.t.Helper()
	work := w.lastWork()
	if work.Expected != len(messages) || work.Closed != 1 || work.InError {
		w.t.Errorf("the last work expects %d of %d messages, was closed %d times, in error: %t (%s)", work.Expected, len(messages), work.Closed, work.InError, work.Message)
	}
	for _, m := range messages {
		if m.Work != work.ID {
			w.t.Errorf("%s belongs to another work", m.ID)
			return
		}
	}
}

func TestASecondSignalEndsTheProgramAtOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		first, second syscall.Signal
		status        int
	}{{syscall.SIGTERM, syscall.SIGTERM, 143}, {syscall.SIGTERM, syscall.SIGINT, 130}, {syscall.SIGINT, syscall.SIGINT, 130}} {
		data := someData()
		w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}})
		w.platform.Fault(openctitest.Rule{Operation: "workEdit", From: 1, To: -1, Do: openctitest.Slow(hang)})
		g := w.itemGate(data, 10)
		p := w.start()
		g.awaits(t, 2*concurrency)
		eventually(t, "the platform is told of messages", func() bool { return w.platform.Calls("addExpectations") > 0 })
		given := g.abandoned()
		p.signal(tt.first)
		eventually(t, "the first signal has been heard", func() bool { return g.abandoned() > given }) // two at once may become one
		eventually(t, "a later signal ends the program", func() bool {                                 // within a second it is the same one
			return errors.Is(p.cmd.Process.Signal(tt.second), os.ErrProcessDone)
		})
		p.wants(tt.status) // one that settles and closes its work first has another
	}
}
