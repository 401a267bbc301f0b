package endtoend

import (
	"io"
	"log"
	"path"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

func silentLog() *log.Logger { return log.New(io.Discard, "", 0) }

// fetched counts how often each item and page was answered by the calls that match keep.
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
	data := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 11, Profiles: 300, Alerts: 300, Indicators: 4000})
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data, Latency: 100 * time.Millisecond}})
	p := w.start()
	eventually(t, time.Minute, "300 items are fetched", func() bool { return w.api.Count("/api/stix/*") >= 300 })
	p.signal(syscall.SIGTERM)
	asked := time.Now()
	p.wants(exitRunFailed, 10*time.Second)
	t.Logf("the end took %s", time.Since(asked).Round(time.Millisecond))
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
	w.run(exitOK)
	done, again := fetched(first), fetched(w.api.Calls()[len(first):])
	repeated := 0
	for call := range done {
		if again[call] > 0 {
			repeated++
		}
	}
	t.Logf("%d items and pages were finished, %d of them fetched again", len(done), repeated)
	if repeated*20 > len(done) {
		t.Errorf("%d of %d finished items and pages were fetched again", repeated, len(done))
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

// pause waits for real time to pass in the program under test.
func pause(d time.Duration) { <-time.After(d) }

func TestASecondSignalEndsTheProgramAtOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		first, second syscall.Signal
		status        int
	}{{syscall.SIGTERM, syscall.SIGTERM, 143}, {syscall.SIGTERM, syscall.SIGINT, 130}, {syscall.SIGINT, syscall.SIGINT, 130}} {
		w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: someData(), Latency: 20 * time.Millisecond}})
		w.platform.Fault(openctitest.Rule{Operation: "workEdit", From: 1, To: -1, Do: openctitest.Slow(time.Minute)})
		p := w.start()
		eventually(t, time.Minute, "the platform is told of messages", func() bool { return w.platform.Calls("addExpectations") > 0 })
		p.signal(tt.first)
		pause(300 * time.Millisecond) // two signals at once may become one
		p.signal(tt.second)
		asked := time.Now()
		p.wants(tt.status, 5*time.Second)
		if took := time.Since(asked); took > time.Second {
			t.Errorf("the second signal took %s", took)
		}
	}
}
