package endtoend

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

func TestAnOutageInTheMiddleOfARunIsSurvived(t *testing.T) {
	t.Parallel()
	data := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 19, Profiles: 100, Alerts: 100, Indicators: 2000})
	for _, tt := range []struct {
		name     string
		begin    func(*world)
		end      func(*world)
		repeats  bool // messages may come twice, for confirms were lost
		rejoined bool // the connector came back as a new one, and its queue was a new one too
	}{
		{name: "the platform is away", begin: func(w *world) { w.platformSite.shut() }, end: func(w *world) { w.platformSite.open() }},
		{name: "the API is away", begin: func(w *world) { w.apiSite.shut() }, end: func(w *world) { w.apiSite.open() }},
		{name: "the platform answers with pages", begin: func(w *world) {
			w.platform.Fault(openctitest.Rule{To: -1, Do: openctitest.Status(502, "<html><body>Bad Gateway</body></html>")})
		}, end: func(w *world) { w.platform.ClearFaults() }},
		{name: "the platform has an inner error", begin: func(w *world) {
			w.platform.Fault(openctitest.Rule{To: -1, Do: openctitest.GraphQLError("DATABASE_ERROR", "the database is restarting")})
		}, end: func(w *world) { w.platform.ClearFaults() }},
		{name: "the broker is away", begin: func(w *world) { refuse(w, true); w.broker.Drop() }, end: func(w *world) { refuse(w, false) }, repeats: true},
		{name: "the broker knows nobody", begin: func(w *world) { w.broker.RefuseAuth(true); w.broker.CloseConnections("maintenance") },
			end: func(w *world) { w.broker.RefuseAuth(false) }, repeats: true},
		{name: "the queue is full", begin: func(w *world) { w.broker.LimitQueue(w.queue(), 0) }, end: func(w *world) { w.broker.LimitQueue(w.queue(), -1) }, repeats: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data, Latency: 40 * time.Millisecond}})
			p := w.start()
			eventually(t, time.Minute, "messages arrive", func() bool { return w.broker.Published() > 0 })
			tt.begin(w)
			pause(4 * time.Second)
			select {
			case <-p.done:
				t.Fatalf("the program has ended\n%s", p.tail())
			default:
			}
			tt.end(w)
			p.wants(exitOK, 2*time.Minute)
			messages := w.take()
			checkOrder(t, messages)
			checkHeld(t, messages, held(t, data, defaultMapping))
			if s := parseState(t, w.platform.State()); s.LastRun.IsZero() {
				t.Errorf("the state is %s", w.platform.State())
			}
			if tt.repeats {
				if work := w.lastWork(); work.Closed != 1 || work.InError || work.Expected < len(messages)-repeatsOf(messages) {
					t.Errorf("the work is %+v, %d messages", work, len(messages))
				}
				return
			}
			checkOnce(t, messages)
			w.checkBooks(messages, false)
		})
	}
}

func refuse(w *world, yes bool) {
	if err := w.broker.Refuse(yes); err != nil {
		w.t.Error(err)
	}
}

func repeatsOf(messages []delivery) int {
	_, n := byID(messages)
	return n
}

func TestABrokerThatIsNotThereAtTheStartIsWaitedFor(t *testing.T) {
	t.Parallel()
	data := someData()
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}})
	refused := newSite(t, nil, false)
	_, port, _ := strings.Cut(refused.addr, ":")
	p := w.start("MQ_PORT=" + port) // the platform reaches it, the connector does not
	p.awaits(30*time.Second, "cannot deliver to the broker")
	if s := parseState(t, w.platform.State()); len(s.Datasets[fetch.ProfilesDataset].Failed) > 0 || s.Datasets[fetch.ProfilesDataset].Pass != nil && s.Datasets[fetch.ProfilesDataset].Pass.After != "" {
		t.Errorf("progress without a broker: %s", w.platform.State())
	}
	p.end()
	w.run(exitOK)
	messages := w.take()
	checkOrder(t, messages)
	checkHeld(t, messages, held(t, data, defaultMapping))
}

func TestOlderPlatformsAreServed(t *testing.T) {
	t.Parallel()
	data := someData()
	for name, config := range map[string]openctitest.Config{
		"before 7":              {Before7: true},
		"without a state's age": {NoStateTimestamp: true},
		"both":                  {Before7: true, NoStateTimestamp: true},
		"without knowledge":     {NoKnowledge: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}, platform: config})
			w.run(exitOK)
			messages := w.take()
			w.checkWhole(data)
			w.checkBooks(messages, false)
			w.run(exitOK)
			if n := len(w.take()); n > 0 {
				t.Errorf("a second run sent %d messages", n)
			}
		})
	}
}

func TestAConnectorThatIsDeletedFromOpenCTIComesBackAsANewOne(t *testing.T) {
	t.Parallel()
	data := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 23, Profiles: 100, Alerts: 100, Indicators: 3000})
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data, Latency: 60 * time.Millisecond}})
	p := w.start("CONNECTOR_RUN_AND_TERMINATE=false", "CONNECTOR_DURATION_PERIOD=PT2S")
	eventually(t, time.Minute, "messages arrive", func() bool { return w.broker.Published() > 500 })
	if err := w.platform.DeleteConnector(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 2*time.Minute, "last_run is committed", func() bool { return !parseState(t, w.platform.State()).LastRun.IsZero() })
	last := w.lastWork()
	p.end()
	messages := w.take()
	checkOrder(t, messages)
	mine := messages[:0:0]
	for _, m := range messages {
		if m.Work == last.ID {
			mine = append(mine, m)
		}
	}
	checkHeld(t, mine, held(t, data, defaultMapping))
}

func TestARevokedTokenFailsTheRunAndANewOneGoesOn(t *testing.T) {
	t.Parallel()
	data := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 29, Profiles: 60, Alerts: 60, Indicators: 2000})
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data, Latency: 60 * time.Millisecond}})
	p := w.start()
	eventually(t, time.Minute, "messages arrive", func() bool { return w.broker.Published() > 0 })
	w.platform.RevokeToken()
	p.wants(exitRunFailed, 2*time.Minute)
	if s := parseState(t, w.platform.State()); !s.LastRun.IsZero() {
		t.Errorf("the state is %s", w.platform.State())
	}
	w.platform.AcceptToken(w.env["OPENCTI_TOKEN"])
	w.run(exitOK)
	messages := w.take()
	checkOrder(t, messages)
	checkHeld(t, messages, held(t, data, defaultMapping))
}

func TestWithoutAFolderForTheIndexTheRunIsWholeAndSaysSoOnce(t *testing.T) {
	t.Parallel()
	data := someData()
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}})
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := w.run(exitOK, "CONNECTOR_STATE_DIR="+filepath.Join(file, "state"))
	if n := strings.Count(p.output(), "CONNECTOR_STATE_DIR"); n != 1 {
		t.Errorf("it is said %d times", n)
	}
	messages := w.take()
	w.checkWhole(data)
	w.checkBooks(messages, false)
	w.run(exitOK, "CONNECTOR_STATE_DIR="+filepath.Join(file, "state"))
	if n := len(w.take()); n > 0 {
		t.Errorf("a second run sent %d messages", n)
	}
}

func TestALostIndexInTheMiddleOfAPassLosesNothing(t *testing.T) {
	t.Parallel()
	data := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 31, Profiles: 150, Alerts: 150, Indicators: 3000})
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data, Latency: 300 * time.Millisecond}})
	for range 3 {
		p, before := w.start(), w.platform.State()
		eventually(t, time.Minute, "progress is committed", func() bool {
			state := w.platform.State()
			return state != before && strings.Contains(state, `"after"`) || p.ended()
		})
		t.Logf("killed at %s", w.platform.State())
		p.end() // SIGKILL
		w.forgetIndex()
	}
	w.run(exitOK)
	messages := w.take()
	checkOrder(t, messages)
	checkHeld(t, messages, held(t, data, defaultMapping))
	t.Logf("%d messages, %d of them repeats", len(messages), repeatsOf(messages))
}

func TestMessagesThatAreTooLargeCostThemselves(t *testing.T) {
	t.Parallel()
	data := someData()
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}})
	p := w.run(exitOK, "CONNECTOR_MAX_MESSAGE_BYTES=2500")
	messages := w.take()
	checkOrder(t, messages)
	checkOnce(t, messages)
	w.checkBooks(messages, false)
	runs := p.runs()
	refused, _ := runs[0].Attributes["too_large"].(float64)
	if refused == 0 || len(messages) < 500 || !strings.Contains(w.lastWork().Message, "left out") {
		t.Errorf("%v refused, %d sent, the work says %q", refused, len(messages), w.lastWork().Message)
	}
}
