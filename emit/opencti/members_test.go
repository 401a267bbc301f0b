package opencti_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
)

func TestAnOlderPlatformIsAskedForWhatItKnows(t *testing.T) {
	old := []string{
		"Connector.connector_state_timestamp", "Mutation.pingConnector.connectorInfo",
		"RegisterConnectorInput.listen_callback_uri", "RegisterConnectorInput.playbook_compatible",
		"RegisterConnectorInput.only_contextual",
	}
	for _, tt := range []struct {
		name      string
		cfg       openctitest.Config
		timestamp bool
		info      bool
		multiPart bool
	}{
		{"7", openctitest.Config{}, true, true, true},
		{"before 7", openctitest.Config{Version: "6.9.0"}, true, true, false},
		{"no timestamp", openctitest.Config{NoStateTimestamp: true}, false, true, true},
		{"no ping info", openctitest.Config{Without: old[1:2]}, true, false, true},
		{"oldest", openctitest.Config{Version: "5.5.4"}, false, false, false},
		{"old in all", openctitest.Config{Version: "6.9.0", Without: old}, false, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, c, requests := start(t, tt.cfg)
			round := func() int64 {
				before := requests.Load()
				e := ping(t, c, `{"a":1}`)
				if e.State != `{"a":1}` || e.StateTimestamp.IsZero() == tt.timestamp {
					t.Errorf("Ping() = %+v", e)
				}
				if e, err := c.ConnectorState(t.Context()); err != nil || e.State != `{"a":1}` {
					t.Errorf("ConnectorState() = %+v, %v", e, err)
				}
				if _, err := c.AddWork(t.Context(), "run"); err != nil {
					t.Error(err)
				}
				return requests.Load() - before
			}
			before := requests.Load()
			r := register(t, c)
			if r.UserID == "" || r.Queue.Exchange == "" {
				t.Errorf("Register() = %+v", r)
			}
			if got := requests.Load() - before; got != 2 {
				t.Errorf("%d requests to find out what the platform knows, and to register", got)
			}
			if got := round(); got != 3 {
				t.Errorf("what it knows was not remembered: %d requests instead of 3", got)
			}
			for _, w := range p.Works() {
				if w.MultiPart != tt.multiPart {
					t.Errorf("multi-part: %v", w.MultiPart)
				}
			}
			c.Ping(t.Context(), "x", opencti.Info{Buffering: true})
			if pings := p.Pings(); pings[len(pings)-1].Info.Buffering != tt.info {
				t.Errorf("ping info: %+v", pings[len(pings)-1].Info)
			}
		})
	}
}

func TestRegisteringTriesNewerMembersAgain(t *testing.T) {
	older, err := openctitest.New(openctitest.Config{Token: token, Version: "6.9.0", NoStateTimestamp: true})
	if err != nil {
		t.Fatal(err)
	}
	newer, err := openctitest.New(openctitest.Config{Token: token})
	if err != nil {
		t.Fatal(err)
	}
	var now http.Handler = older
	url, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { now.ServeHTTP(w, r) }))
	c := connect(t, opencti.Config{URL: url})
	register(t, c)
	if !ping(t, c, "null").StateTimestamp.IsZero() {
		t.Fatal("the older platform gave a timestamp")
	}
	now = newer
	register(t, c)
	if ping(t, c, "null").StateTimestamp.IsZero() {
		t.Error("the upgraded platform was not asked for the timestamp")
	}
}

// Other implementations of GraphQL word their validation errors in ways of their own, and answer with 200 or 400.
func TestAnUnknownMemberIsRecognisedHoweverItIsSaid(t *testing.T) {
	for _, refusal := range []string{
		`{"errors":[{"message":"Unknown argument \"isMultiPartWork\" on field \"Mutation.workAdd\"."}]}`,
		`{"errors":[{"message":"Unknown argument 'isMultiPartWork' on field 'Mutation.workAdd'."}],"data":null}`,
		`{"errors":[{"message":"other"},{"message":"unknown argument isMultiPartWork"}]}`,
		`{"errors":[{"message":"workAdd takes no isMultiPartWork","extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}`,
	} {
		for _, status := range []int{200, 400} {
			url, requests := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body := make([]byte, r.ContentLength)
				_, _ = r.Body.Read(body)
				if strings.Contains(string(body), "isMultiPartWork") {
					w.WriteHeader(status)
					_, _ = w.Write([]byte(refusal))
					return
				}
				_, _ = w.Write([]byte(`{"data":{"workAdd":{"id":"work_1"}}}`))
			}))
			c := connect(t, opencti.Config{URL: url})
			if id, err := c.AddWork(t.Context(), "run"); id != "work_1" || err != nil || requests.Load() != 2 {
				t.Errorf("%d %s: %q, %v after %d requests", status, refusal, id, err, requests.Load())
			}
		}
	}
}

func TestAMutationThatFailedOtherwiseIsNotSentAgain(t *testing.T) {
	for _, message := range []string{"isMultiPartWork went wrong", "Cannot query field \"nothing\" on type \"Work\"."} {
		url, requests := serve(t, answering(200, "application/json", `{"errors":[{"message":`+quote(message)+`}]}`))
		if _, err := connect(t, opencti.Config{URL: url}).AddWork(t.Context(), "run"); err == nil || requests.Load() != 1 {
			t.Errorf("%v after %d requests", err, requests.Load())
		}
	}
}

func TestASecretThatIsAnEverydayWordDoesNotHideWhatThePlatformLacks(t *testing.T) {
	p, err := openctitest.New(openctitest.Config{Token: token, Version: "6.9.0", NoStateTimestamp: true})
	if err != nil {
		t.Fatal(err)
	}
	url, _ := serve(t, p)
	c := connect(t, opencti.Config{URL: url, Headers: http.Header{"X-Client": {"connector"}, "X-Field": {"isMultiPartWork"}}})
	register(t, c)
	ping(t, c, "null")
	if _, err := c.AddWork(t.Context(), "run"); err != nil {
		t.Error(err)
	}
}
