package opencti_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
)

func TestTheUserOfTheTokenIsTold(t *testing.T) {
	for version, rated := range map[string]bool{"7.260817.0": true, "5.12.0": false} {
		_, c, requests := start(t, openctitest.Config{Version: version, UserID: "u", Capabilities: []string{"MODULES_MODMANAGE"}})
		for range 2 {
			u, err := c.WhoAmI(t.Context())
			if err != nil || u.ID != "u" || u.Name == "" || u.Email == "" || !slices.Equal(u.Capabilities, []string{"MODULES_MODMANAGE"}) {
				t.Errorf("%s: %+v, %v", version, u, err)
			}
			if u.Rated != rated || (u.MaxConfidence != nil) != rated {
				t.Errorf("%s: confidence %v, told %t", version, u.MaxConfidence, u.Rated)
			}
		}
		if want := map[bool]int64{true: 2, false: 3}[rated]; requests.Load() != want {
			t.Errorf("%s: %d requests, want %d", version, requests.Load(), want)
		}
	}
	_, c, _ := start(t, openctitest.Config{NoConfidence: true})
	if u, err := c.WhoAmI(t.Context()); err != nil || !u.Rated || u.MaxConfidence != nil {
		t.Errorf("without confidence: %+v, %v", u, err)
	}
}

func TestACapabilityComesWithThoseAboveIt(t *testing.T) {
	for _, tt := range []struct {
		user       opencti.User
		capability string
		want       bool
	}{
		{opencti.User{Capabilities: []string{"KNOWLEDGE_KNUPDATE_KNDELETE"}}, "KNOWLEDGE_KNUPDATE", true},
		{opencti.User{Capabilities: []string{"KNOWLEDGE"}}, "KNOWLEDGE_KNUPDATE", false},
		{opencti.User{Capabilities: []string{"EXPLORE", "BYPASS"}}, "CONNECTORAPI", true},
		{opencti.User{ID: "88ec0c6a-13ce-5e39-b486-354fe4a7084f"}, "CONNECTORAPI", true},
		{opencti.User{}, "CONNECTORAPI", false},
	} {
		if got := tt.user.Can(tt.capability); got != tt.want {
			t.Errorf("%+v: %s %t", tt.user, tt.capability, got)
		}
	}
}

func TestLookingAtAConnectorChangesNothing(t *testing.T) {
	p, c, _ := start(t, openctitest.Config{})
	if _, err := c.Presence(t.Context()); !errors.Is(err, opencti.ErrConnectorGone) {
		t.Errorf("before its registration: %v", err)
	}
	q, name, err := c.Broker(t.Context())
	if err != nil || name != "" || q.Host != "localhost" || q.Exchange == "" || q.RoutingKey != "" {
		t.Errorf("the broker, by another connector: %+v %q, %v", q, name, err)
	}
	if len(p.Registrations())+len(p.Pings()) != 0 {
		t.Error("looking has registered the connector, or pinged")
	}
	registered := register(t, c)
	if got, err := c.Presence(t.Context()); err != nil || got.Name != "ThreatMatch" || !got.Active {
		t.Errorf("after its registration: %+v, %v", got, err)
	}
	if q, name, err := c.Broker(t.Context()); err != nil || q != registered.Queue || name != "push_"+connectorID {
		t.Errorf("its own broker: %+v %q, %v", q, name, err)
	}
}

func TestABrokerThatNoConnectorHasIsNotKnown(t *testing.T) {
	_, c, _ := start(t, openctitest.Config{Version: "5.12.0"})
	if _, _, err := c.Broker(t.Context()); !errors.Is(err, opencti.ErrConnectorGone) {
		t.Error(err)
	}
	_, c, _ = start(t, openctitest.Config{Capabilities: []string{"MODULES"}})
	if _, _, err := c.Broker(t.Context()); !opencti.IsForbidden(err) {
		t.Errorf("without the right: %v", err)
	}
}

func TestWhatIsNoOpenCTIIsToldFromOneThatRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		status     int
		kind, body string
		want       bool
	}{
		"a page":    {200, "text/html", "<html><title>Welcome</title></html>", true},
		"a 404":     {404, "text/plain", "404 page not found", true},
		"a refusal": {200, "application/json", `{"errors":[{"name":"AUTH_REQUIRED","message":"no"}]}`, false},
	} {
		url, _ := serve(t, answering(tt.status, tt.kind, tt.body))
		_, err := connect(t, opencti.Config{URL: url}).Version(t.Context())
		if err == nil || opencti.IsUnrecognized(err) != tt.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
