package endtoend

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

func TestAnOutageInTheMiddleOfARunIsSurvived(t *testing.T) {
	t.Parallel()
	data := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 19, Profiles: 100, Alerts: 100, Indicators: 2000})
	for _, tt := range []struct {
		name    string
		begin   func(*world)
		end     func(*world)
		noticed string // is logged by who has met it
		repeats bool   // messages may come twice, for confirms were lost
		order   func(*testing.T, []delivery)
	}{
		{name: "the platform is away", begin: func(w *world) { w.platformSite.shut() }, end: func(w *world) { w.platformSite.open() },
			noticed: "the platform does not answer"},
		{name: "the API is away", begin: func(w *world) { w.apiSite.shut() }, end: func(w *world) { w.apiSite.open() }},
		{name: "the platform answers with pages", begin: func(w *world) {
			w.platform.Fault(openctitest.Rule{To: -1, Do: openctitest.Status(502, "<html><body>Bad Gateway</body></html>")})
		}, end: func(w *world) { w.platform.ClearFaults() }, noticed: "the platform does not answer"},
		{name: "the platform has an inner error", begin: func(w *world) {
			w.platform.Fault(openctitest.Rule{To: -1, Do: openctitest.GraphQLError("DATABASE_ERROR", "the database is restarting")})
		}, end: func(w *world) { w.platform.ClearFaults() }, noticed: "the platform does not answer"},
		{name: "the broker is away", begin: func(w *world) { refuse(w, true); w.broker.Drop() }, end: func(w *world) { refuse(w, false) },
			noticed: "broker still not available", repeats: true},
		{name: "the broker knows nobody", begin: func(w *world) { w.broker.RefuseAuth(true); w.broker.CloseConnections("maintenance") },
			end: func(w *world) { w.broker.RefuseAuth(false) }, noticed: "RabbitMQ cannot be used as it is set up", repeats: true},
		{name: "the queue is full", begin: func(w *world) { w.broker.LimitQueue(w.queue(), 0) }, end: func(w *world) { w.broker.LimitQueue(w.queue(), -1) },
			noticed: "the broker refuses messages", repeats: true, order: checkOrderInTheEnd},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}})
			g := w.itemGate(data, 60)
			port := freePort(t)
			p := w.start("CONNECTOR_EXPOSE_METRICS=true", "CONNECTOR_METRICS_PORT="+strconv.Itoa(port))
			g.awaits(t, 2*concurrency)
			eventually(t, "messages arrive", func() bool { return w.broker.Published() > 0 })
			tt.begin(w)
			g.lift() // nothing is held, and the run cannot end all the same
			eventually(t, "the outage is noticed", func() bool {
				if tt.noticed != "" || p.ended() {
					return p.logs(tt.noticed) || p.ended()
				}
				_, text, _ := ask(port, "/metrics")
				return series(t, text)["client_errors_total"] > 3*concurrency // those at the gate, and some repetitions
			})
			if p.ended() {
				t.Fatalf("the program has ended\n%s", p.tail())
			}
			tt.end(w)
			p.wants(exitOK)
			messages := w.take()
			if tt.order == nil {
				tt.order = func(t *testing.T, messages []delivery) { checkOrder(t, messages) }
			}
			tt.order(t, messages)
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
	p.awaits("cannot deliver to the broker")
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
		"before 7":              {Version: "6.9.0"},
		"without a state's age": {NoStateTimestamp: true},
		"both":                  {Version: "6.9.0", NoStateTimestamp: true},
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
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}})
	g := w.itemGate(data, 60)
	p := w.start("CONNECTOR_RUN_AND_TERMINATE=false", "CONNECTOR_DURATION_PERIOD=PT2S")
	eventually(t, "messages arrive", func() bool { return w.broker.Published() > 500 })
	if err := w.platform.DeleteConnector(); err != nil {
		t.Fatal(err)
	}
	g.lift()
	eventually(t, "last_run is committed", func() bool { return !parseState(t, w.platform.State()).LastRun.IsZero() })
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
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}})
	g := w.itemGate(data, 30)
	p := w.start()
	eventually(t, "messages arrive", func() bool { return w.broker.Published() > 0 })
	w.platform.RevokeToken()
	g.lift()
	p.wants(exitRunFailed)
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
	data := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 31, Profiles: 80, Alerts: 80, Indicators: 600})
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}})
	g := w.itemGate(data, 0)
	for i := range 3 {
		p := w.start()
		g.move(20 * (i + 1))
		g.settles(w, data)
		g.move(20*(i+1) + 10) // something is under way
		t.Logf("killed at %s", w.platform.State())
		p.end() // SIGKILL
		w.forgetIndex()
	}
	g.lift()
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
	if named := w.lastWork().LeftOut(); named == 0 || named > 20 {
		t.Errorf("the work names %d of %v", named, refused)
	}
	if refused == 0 || len(messages) < 500 || !strings.Contains(w.lastWork().Message, "left out") {
		t.Errorf("%v refused, %d sent, the work says %q", refused, len(messages), w.lastWork().Message)
	}
}
