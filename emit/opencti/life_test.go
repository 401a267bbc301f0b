package opencti_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
)

func TestAConnectorLivesItsLife(t *testing.T) {
	ctx := t.Context()
	p, c, _ := start(t, openctitest.Config{UserID: "88ec0c6a-13ce-5e39-b486-354fe4a7084f"})

	if v, err := c.Version(ctx); err != nil || v == "" {
		t.Fatalf("Version() = %q, %v", v, err)
	}
	if _, err := c.ConnectorState(ctx); !errors.Is(err, opencti.ErrConnectorGone) {
		t.Fatalf("ConnectorState before registration: %v", err)
	}
	r := register(t, c)
	want := opencti.Queue{
		Host: "localhost", VHost: "/", Port: 5672, User: "guest", Password: "guest",
		Exchange: "amqp.worker.exchange", RoutingKey: "push_routing_" + connectorID,
	}
	if r.Queue != want || r.UserID != "88ec0c6a-13ce-5e39-b486-354fe4a7084f" || r.State != "" || r.StateTimestamp.IsZero() {
		t.Errorf("Register() = %#v", r)
	}
	got := p.Registrations()[0]
	got.Time = time.Time{}
	if want := (openctitest.Registration{
		ID: connectorID, Name: "ThreatMatch", Type: "EXTERNAL_IMPORT", Scope: []string{"threatmatch"},
	}); !reflect.DeepEqual(got, want) {
		t.Errorf("registered as %+v, want %+v", got, want)
	}

	zone := time.FixedZone("", 2*3600)
	echo, err := c.Ping(ctx, `{"last_run": "x"}`, opencti.Info{
		Buffering: true, QueueThreshold: 500, QueueMessagesSize: 12.5,
		NextRun: time.Date(2025, 4, 18, 2, 3, 4, 5e8, zone),
	})
	if err != nil || echo.State != `{"last_run": "x"}` || echo.StateTimestamp.IsZero() || !echo.StateTimestamp.Equal(r.StateTimestamp) {
		t.Errorf("Ping() = %+v, %v", echo, err)
	}
	if info := p.Pings()[0].Info; info != (openctitest.Info{
		Buffering: true, QueueThreshold: 500, QueueMessagesSize: 12.5, NextRun: "2025-04-18T00:03:04Z",
	}) {
		t.Errorf("ping carried %+v", info)
	}
	if held, err := c.ConnectorState(ctx); err != nil || held != echo {
		t.Errorf("ConnectorState() = %+v, %v", held, err)
	}

	p.SetQueue(17, 1<<40)
	if w, err := c.Watch(ctx, ""); err != nil || w != (opencti.Watched{WorkAlive: true, Messages: 17, Bytes: 1 << 40}) {
		t.Errorf("Watch() = %+v, %v", w, err)
	}
}

func TestAWorkIsKept(t *testing.T) {
	ctx := t.Context()
	p, c, _ := start(t, openctitest.Config{})
	register(t, c)
	id, err := c.AddWork(ctx, "ThreatMatch run @ 2025-04-17T15:24:00+00:00")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{3, 0, 1000} {
		if err := c.AddExpectations(ctx, id, n); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.AddExpectations(ctx, id, -1); !opencti.IsUnsent(err) {
		t.Errorf("a negative number: %v", err)
	}
	if n, err := c.Expectations(ctx, id); n != 1003 || err != nil {
		t.Errorf("Expectations() = %d, %v", n, err)
	}
	if done, err := c.Processed(ctx, id); done || err != nil {
		t.Errorf("Processed() of an open work = %t, %v", done, err)
	}
	if err := c.CloseWork(ctx, id, "half of it", true); err != nil {
		t.Fatal(err)
	}
	if done, err := c.Processed(ctx, id); !done || err != nil {
		t.Errorf("Processed() of a closed work = %t, %v", done, err)
	}
	w := p.Works()[0]
	if w.ID != id || !w.MultiPart || w.Expected != 1003 || !reflect.DeepEqual(w.ExpectationCalls, []int{3, 0, 1000}) ||
		w.Closed != 1 || !w.InError || w.Message != "half of it" || w.Name != "ThreatMatch run @ 2025-04-17T15:24:00+00:00" {
		t.Errorf("work = %+v", w)
	}
}

func TestAWorkIsWatchedTogetherWithTheQueue(t *testing.T) {
	p, c, requests := start(t, openctitest.Config{})
	register(t, c)
	id, err := c.AddWork(t.Context(), "run")
	if err != nil {
		t.Fatal(err)
	}
	p.SetQueue(3, 4096)
	before := requests.Load()
	if w, err := c.Watch(t.Context(), id); err != nil || w != (opencti.Watched{WorkAlive: true, Messages: 3, Bytes: 4096}) {
		t.Errorf("Watch() = %+v, %v", w, err)
	}
	if n := requests.Load() - before; n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestHowFarAWorkIsTakesOneRequestThatReadsNoObject(t *testing.T) {
	p, c, requests := start(t, openctitest.Config{})
	register(t, c)
	ctx := t.Context()
	id, err := c.AddWork(ctx, "run")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.AddExpectations(ctx, id, 3); err != nil {
		t.Fatal(err)
	}
	p.SetQueue(2, 4096)
	before := requests.Load()
	want := opencti.ImportProgress{WorkAlive: true, Expected: 3, Messages: 2, Bytes: 4096}
	if got, err := c.ImportProgress(ctx, id); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if n := requests.Load() - before; n != 1 {
		t.Errorf("%d requests", n)
	}
	if err := c.CloseWork(ctx, id, "LOCK_ERROR: half of it", true); err != nil {
		t.Fatal(err)
	}
	want.Said = 1
	if got, err := c.ImportProgress(ctx, id); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("with what closes it: %+v, %v", got, err)
	}
	p.DeleteWork(id)
	if got, err := c.ImportProgress(ctx, id); err != nil || got.WorkAlive || got.Expected != 0 || got.Messages != 2 {
		t.Errorf("of a deleted work: %+v, %v", got, err)
	}
}

func TestADeletedWorkIsNotAlive(t *testing.T) {
	for _, tells := range []bool{false, true} {
		testADeletedWork(t, tells)
	}
}

// Whether a platform refuses changes of a deleted work or answers them as ever, questions for it tell.
func testADeletedWork(t *testing.T, tells bool) {
	ctx := t.Context()
	p, c, _ := start(t, openctitest.Config{TellsDeadWorks: tells})
	register(t, c)
	id, err := c.AddWork(ctx, "run")
	if err != nil {
		t.Fatal(err)
	}
	if !p.DeleteWork(id) {
		t.Fatal("the work was not there")
	}
	_, expectErr := c.Expectations(ctx, id)
	_, processedErr := c.Processed(ctx, id)
	_, reportErr := c.Work(ctx, id)
	if w, err := c.Watch(ctx, id); err != nil || w.WorkAlive {
		t.Errorf("Watch() = %+v, %v", w, err)
	}
	changes := map[string]error{
		"AddExpectations": c.AddExpectations(ctx, id, 1),
		"CloseWork":       c.CloseWork(ctx, id, "", false),
		"ReportLeftOut":   c.ReportLeftOut(ctx, id, "x"),
	}
	for name, err := range changes {
		if errors.Is(err, opencti.ErrWorkNotAlive) != tells || (err == nil) == tells {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{"Expectations": expectErr, "Processed": processedErr, "Work": reportErr} {
		if !errors.Is(err, opencti.ErrWorkNotAlive) || errors.Is(err, opencti.ErrConnectorGone) || opencti.IsTemporary(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestADeletedConnectorIsGone(t *testing.T) {
	ctx := t.Context()
	p, c, _ := start(t, openctitest.Config{})
	register(t, c)
	if err := p.DeleteConnector(); err != nil {
		t.Fatal(err)
	}
	_, pingErr := c.Ping(ctx, "null", opencti.Info{})
	_, stateErr := c.ConnectorState(ctx)
	_, queueErr := c.Watch(ctx, "")
	_, watchErr := c.Watch(ctx, "work_1")
	for name, err := range map[string]error{"Ping": pingErr, "ConnectorState": stateErr, "Watch the queue": queueErr, "Watch": watchErr} {
		if !errors.Is(err, opencti.ErrConnectorGone) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if r := register(t, c); r.State != "" {
		t.Errorf("state of a new connector is %q", r.State)
	}
	ping(t, c, "null")
}

func TestARefusedPingOfALivingConnectorIsNotGone(t *testing.T) {
	p, c, _ := start(t, openctitest.Config{})
	register(t, c)
	p.Fault(openctitest.Rule{Operation: "pingConnector", Do: openctitest.GraphQLError("FUNCTIONAL_ERROR", "no")})
	_, err := c.Ping(t.Context(), "null", opencti.Info{})
	var e *opencti.Error
	if errors.Is(err, opencti.ErrConnectorGone) || !errors.As(err, &e) || e.Name != "FUNCTIONAL_ERROR" {
		t.Errorf("Ping: %v", err)
	}
}

// What a ping is answered with, told from a stored state, a reset and a platform whose storage lags.
func TestWhatAPingIsAnsweredWith(t *testing.T) {
	type step struct {
		do     string // "reset", "stale", "register", or the state of a ping
		answer string
		held   string
		newer  bool // the answer's timestamp is newer than any seen before
	}
	for name, steps := range map[string][]step{
		"a state is stored and echoed": {
			{do: "A", answer: "A", held: "A"}, {do: "B", answer: "B", held: "B"},
		},
		"a reset answers one ping and does not store it": {
			{do: "A", answer: "A", held: "A"}, {do: "reset", held: ""},
			{do: "B", answer: "", held: "", newer: true}, {do: "B", answer: "B", held: "B"},
		},
		"a reset that registration reports still answers the first ping": {
			{do: "A", answer: "A", held: "A"}, {do: "reset", held: ""},
			{do: "register", answer: "", held: "", newer: true},
			{do: "B", answer: "", held: ""}, {do: "B", answer: "B", held: "B"},
		},
		"two resets are two orders": {
			{do: "reset"}, {do: "A", newer: true}, {do: "reset"}, {do: "A", newer: true}, {do: "A", answer: "A", held: "A"},
		},
		"a stale echo shows the state before, though the sent one is stored": {
			{do: "A", answer: "A", held: "A"}, {do: "stale", held: "A"},
			{do: "B", answer: "A", held: "B"}, {do: "B", answer: "B", held: "B"}, {do: "C", answer: "C", held: "C"},
		},
		"the first ping of all may be echoed as empty": {
			{do: "stale"}, {do: "A", answer: "", held: "A"}, {do: "A", answer: "A", held: "A"},
		},
		"a reset comes before a stale echo": {
			{do: "A", answer: "A", held: "A"}, {do: "stale", held: "A"}, {do: "reset"},
			{do: "B", answer: "", newer: true}, {do: "C", answer: "", held: "C"}, {do: "C", answer: "C", held: "C"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, c, _ := start(t, openctitest.Config{})
			seen := register(t, c).StateTimestamp
			for i, s := range steps {
				switch s.do {
				case "reset":
					if err := p.Reset(); err != nil {
						t.Fatal(err)
					}
				case "stale":
					p.StaleEcho(1)
				case "register":
					r := register(t, c)
					if r.State != s.answer || r.StateTimestamp.After(seen) != s.newer {
						t.Errorf("step %d: Register() = %+v", i, r)
					}
					seen = r.StateTimestamp
				default:
					asked, err := c.ConnectorState(t.Context())
					if err != nil || asked.State != p.State() {
						t.Errorf("step %d: ConnectorState() = %+v, %v", i, asked, err)
					}
					e := ping(t, c, s.do)
					if e.State != s.answer || e.StateTimestamp.After(seen) != s.newer {
						t.Errorf("step %d: %s was answered with %+v, last seen %v", i, s.do, e, seen)
					}
					seen = e.StateTimestamp
				}
				if p.State() != s.held {
					t.Errorf("step %d: after %s the platform holds %q, want %q", i, s.do, p.State(), s.held)
				}
			}
		})
	}
}
