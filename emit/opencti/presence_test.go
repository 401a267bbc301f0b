package opencti_test

import (
	"errors"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
)

func TestAConnectorIsActiveForFiveMinutesAfterItWasHeardOf(t *testing.T) {
	for name, cfg := range map[string]openctitest.Config{
		"with a heartbeat": {}, "older": {Without: []string{"Connector.last_seen_at"}},
		"oldest": {NoStateTimestamp: true, Version: "6.0.0", Without: []string{"Connector.last_seen_at"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, c, _ := start(t, cfg)
			if _, err := c.Presence(t.Context()); !errors.Is(err, opencti.ErrConnectorGone) {
				t.Errorf("before registration: %v", err)
			}
			register(t, c)
			expect := func(when string, active bool) {
				t.Helper()
				got, err := c.Presence(t.Context())
				if err != nil || got.Active != active || got.LastSeen.IsZero() || got.ResetPending {
					t.Errorf("%s: %+v, %v", when, got, err)
				}
			}
			expect("registered", true)
			p.LastHeard(6 * time.Minute)
			expect("six minutes later", false)
			ping(t, c, `{"a":1}`)
			expect("pinged", true)
		})
	}
}

func TestAStateIsStoredWithoutTouchingWhatIsShownBesides(t *testing.T) {
	for name, cfg := range map[string]openctitest.Config{"new": {}, "old": {NoStateTimestamp: true, Without: []string{"Mutation.pingConnector.connectorInfo"}}} {
		t.Run(name, func(t *testing.T) {
			p, c, _ := start(t, cfg)
			if _, err := c.StoreState(t.Context(), `{"a":1}`); !errors.Is(err, opencti.ErrConnectorGone) {
				t.Errorf("before registration: %v", err)
			}
			register(t, c)
			echo, err := c.StoreState(t.Context(), `{"a":1}`)
			if err != nil || echo.State != `{"a":1}` || p.State() != echo.State || echo.StateTimestamp.IsZero() != cfg.NoStateTimestamp {
				t.Errorf("StoreState() = %+v, %v; it holds %s", echo, err, p.State())
			}
			if info := p.Pings()[0].Info; info != (openctitest.Info{}) {
				t.Errorf("it told %+v", info)
			}
		})
	}
}

func TestAResetEmptiesTheStateAndWaitsForTheNextPing(t *testing.T) {
	broker, err := rabbitmqtest.Start(rabbitmqtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	}()
	p, c, _ := start(t, openctitest.Config{Broker: broker})
	if err := c.ResetState(t.Context()); !errors.Is(err, opencti.ErrConnectorGone) {
		t.Errorf("before registration: %v", err)
	}
	register(t, c)
	before := ping(t, c, `{"a":1}`)
	if err := c.ResetState(t.Context()); err != nil {
		t.Fatal(err)
	}
	after, err := c.ConnectorState(t.Context())
	presence, _ := c.Presence(t.Context())
	if err != nil || after.State != "" || !after.StateTimestamp.After(before.StateTimestamp) || !presence.ResetPending {
		t.Errorf("%+v, %v, %+v", after, err, presence)
	}
	if echo := ping(t, c, `{"a":2}`); echo.State != "" {
		t.Errorf("the ping after it is answered with %+v", echo)
	}
	if presence, _ = c.Presence(t.Context()); presence.ResetPending {
		t.Error("the mark outlives the ping that was told")
	}

	// As there, a queue that is gone fails the call after the state was reset.
	ping(t, c, `{"a":3}`)
	if err := p.DeleteQueues(); err != nil {
		t.Fatal(err)
	}
	if err := c.ResetState(t.Context()); err == nil || p.State() != "" {
		t.Errorf("%v, it holds %q", err, p.State())
	}
}

func TestAResetNeedsTheRightToManageConnectors(t *testing.T) {
	_, c, _ := start(t, openctitest.Config{Capabilities: []string{"CONNECTORAPI", "MODULES"}})
	register(t, c)
	if err := c.ResetState(t.Context()); !opencti.IsForbidden(err) {
		t.Errorf("%v", err)
	}
}
