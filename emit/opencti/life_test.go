package opencti_test

import (
	"errors"
	"fmt"
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
	if messages, bytes, err := c.QueueSize(ctx); messages != 17 || bytes != 1<<40 || err != nil {
		t.Errorf("QueueSize() = %d, %d, %v", messages, bytes, err)
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

func TestADeletedWorkIsNotAlive(t *testing.T) {
	ctx := t.Context()
	p, c, _ := start(t, openctitest.Config{})
	register(t, c)
	id, err := c.AddWork(ctx, "run")
	if err != nil {
		t.Fatal(err)
	}
	if !p.DeleteWork(id) {
		t.Fatal("the work was not there")
	}
	_, expectErr := c.Expectations(ctx, id)
	for name, err := range map[string]error{
		"AddExpectations": c.AddExpectations(ctx, id, 1),
		"CloseWork":       c.CloseWork(ctx, id, "", false),
		"Expectations":    expectErr,
	} {
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
	_, _, sizeErr := c.QueueSize(ctx)
	for name, err := range map[string]error{"Ping": pingErr, "ConnectorState": stateErr, "QueueSize": sizeErr} {
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

func TestHoldsAsksForManyAtOnce(t *testing.T) {
	p, c, requests := start(t, openctitest.Config{})
	var ids []string
	for i := range 250 {
		ids = append(ids, fmt.Sprintf("indicator--%08d-0000-4000-8000-000000000000", i))
	}
	odd := `x"){__typename} evil: about{version} #`
	ids = append(ids, ids[0], odd)
	p.Hold(ids[3], ids[249])
	known, err := c.Holds(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	if len(known) != 251 || requests.Load() != 3 {
		t.Errorf("%d answers by %d requests", len(known), requests.Load())
	}
	for id, held := range known {
		if held != (id == ids[3] || id == ids[249]) {
			t.Errorf("%s: %v", id, held)
		}
	}
	if none, err := c.Holds(t.Context(), nil); err != nil || len(none) != 0 || requests.Load() != 3 {
		t.Errorf("asking for nothing: %v, %v", none, err)
	}
}

func TestHoldsWithoutTheRightKnowsNothing(t *testing.T) {
	_, c, _ := start(t, openctitest.Config{NoKnowledge: true})
	known, err := c.Holds(t.Context(), []string{"identity--1"})
	if !opencti.IsUnauthorized(err) || len(known) != 0 {
		t.Errorf("Holds() = %v, %v", known, err)
	}
}
