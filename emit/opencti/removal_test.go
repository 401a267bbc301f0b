package opencti_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
)

// newestWithout starts the newest platform without a member, and counts the requests that it refuses.
func newestWithout(t *testing.T, member string) (p *openctitest.Platform, c *opencti.Client, refused *atomic.Int64, log *observer.ObservedLogs) {
	t.Helper()
	p, err := openctitest.New(openctitest.Config{Token: token, Without: []string{member}, Relations: map[string][]string{"A_B": {"uses"}}})
	if err != nil {
		t.Fatal(err)
	}
	refused = new(atomic.Int64)
	url, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		p.ServeHTTP(answer, r)
		if answer.Code != http.StatusOK {
			refused.Add(1)
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	}))
	core, log := observer.New(zap.WarnLevel)
	return p, connect(t, opencti.Config{URL: url, Log: zap.New(core)}), refused, log
}

// round asks for all that the connector asks for and returns how each question failed.
func round(t *testing.T, c *opencti.Client) map[string]error {
	t.Helper()
	failed := map[string]error{}
	note := func(name string, err error) {
		if err != nil {
			failed[name] = err
		}
	}
	registered, err := c.Register(t.Context(), opencti.Registration{Name: "ThreatMatch", Scope: []string{"threatmatch"}})
	if note("register", err); err != nil {
		return failed
	}
	if registered.UserID == "" || registered.Queue.Exchange == "" && failed["config"] == nil {
		failed["what is registered"] = &opencti.Error{Message: registered.Queue.String() + " " + registered.UserID}
	}
	if registered.Queue.VHost == "" {
		t.Errorf("no virtual host: %v", registered.Queue)
	}
	echo, err := c.Ping(t.Context(), `{"a":1}`, opencti.Info{Buffering: true})
	if note("ping", err); err == nil && echo.State != `{"a":1}` {
		t.Errorf("the ping is answered with %+v", echo)
	}
	held, err := c.ConnectorState(t.Context())
	if note("state", err); err == nil && failed["ping"] == nil && held.State != `{"a":1}` {
		t.Errorf("the state is %+v", held)
	}
	presence, err := c.Presence(t.Context())
	if note("presence", err); err == nil && !presence.Active {
		t.Errorf("the connector seems not to run: %+v", presence)
	}
	_, _, err = c.Broker(t.Context())
	note("broker", err)
	_, err = c.WhoAmI(t.Context())
	note("user", err)
	id, err := c.AddWork(t.Context(), "run")
	if note("work", err); err != nil {
		return failed
	}
	note("expect", c.AddExpectations(t.Context(), id, 2))
	_, err = c.Expectations(t.Context(), id)
	note("expected", err)
	seen, err := c.Watch(t.Context(), id)
	if note("watch", err); err == nil && !seen.WorkAlive {
		t.Error("the work seems to be deleted")
	}
	progress, err := c.ImportProgress(t.Context(), id)
	if note("progress", err); err == nil && !progress.WorkAlive {
		t.Error("the work seems to be deleted")
	}
	_, err = c.Work(t.Context(), id)
	note("report", err)
	note("close", c.CloseWork(t.Context(), id, "done", false))
	_, err = c.Processed(t.Context(), id)
	note("closed", err)
	_, err = c.Relations(t.Context())
	note("relations", err)
	known, err := c.Holds(t.Context(), []string{"identity--other", "identity--9"})
	if note("holds", err); err == nil && (len(known) != 1 || known["identity--9"] != "") {
		t.Errorf("the platform holds %v", known)
	}
	note("reset", c.ResetState(t.Context()))
	_, _ = c.Ping(t.Context(), "", opencti.Info{}) // which is told of the reset
	return failed
}

func TestAPlatformMayLackWhateverTheConnectorCanDoWithout(t *testing.T) {
	for _, tt := range []struct {
		member string
		unsaid string // the only questions that are refused, each at once
		warns  bool
	}{
		{"RegisterConnectorInput.auto", "", false},
		{"RegisterConnectorInput.only_contextual", "", false},
		{"RegisterConnectorInput.playbook_compatible", "", false},
		{"RegisterConnectorInput.listen_callback_uri", "", false},
		{"Mutation.pingConnector.connectorInfo", "", false},
		{"ConnectorInfoInput.buffering", "", false},
		{"ConnectorInfoInput.run_and_terminate", "", false},
		{"ConnectorInfoInput.queue_threshold", "", false},
		{"ConnectorInfoInput.queue_messages_size", "", false},
		{"ConnectorInfoInput.next_run_datetime", "", false},
		{"ConnectorInfoInput.last_run_datetime", "", false},
		{"Connector.connector_state_timestamp", "", false},
		{"Connector.connector_user_id", "", false},
		{"Connector.active", "", false},
		{"Connector.updated_at", "", false},
		{"Connector.last_seen_at", "", false},
		{"Connector.connector_state_reset", "", false},
		{"Connector.connector_queue_details", "", true},
		{"ConnectorQueueDetails.messages_size", "", true},
		{"ConnectorQueueDetails.messages_number", "", true},
		{"ConnectorConfig.connection", "", true},
		{"RabbitMQConnection.host", "", true},
		{"RabbitMQConnection.vhost", "", true},
		{"RabbitMQConnection.use_ssl", "", true},
		{"RabbitMQConnection.port", "", true},
		{"RabbitMQConnection.user", "", true},
		{"RabbitMQConnection.pass", "", true},
		{"Mutation.workAdd.isMultiPartWork", "", false},
		{"Mutation.resetStateConnector", "reset", false},
		{"Work.status", "", true},
		{"Work.processed_time", "", false},
		{"Work.tracking", "", true},
		{"Work.errors", "", true},
		{"WorkTracking.import_expected_number", "", true},
		{"WorkTracking.import_processed_number", "", true},
		{"WorkMessage.source", "", true},
		{"WorkMessage.message", "", false},
		{"WorkMessage.timestamp", "", false},
		{"Query.work", "report", true},
		{"Query.connector", "state presence broker", true},
		{"Query.connectors", "", false},
		{"Query.me", "user", false},
		{"MeUser.effective_confidence_level", "", false},
		{"Query.stixObjectOrStixRelationships", "", false},
		{"Query.stixObjectOrStixRelationship", "", true},
		{"Query.schemaRelationsTypesMapping", "relations", true},
		{"StixObject.x_opencti_stix_ids", "", false},
		{"PageInfo.hasNextPage", "", false},
	} {
		t.Run(tt.member, func(t *testing.T) {
			p, c, refused, log := newestWithout(t, tt.member)
			p.HoldObject(openctitest.Held{StandardID: "identity--1", StixIDs: []string{"identity--other"}})
			for range 2 { // the second time registers again, and asks again what there is
				before := refused.Load()
				for name, err := range round(t, c) {
					if !strings.Contains(" "+tt.unsaid+" ", " "+name+" ") || !opencti.IsRefused(err) {
						t.Errorf("%s: %v", name, err)
					}
				}
				most := int64(1)
				if tt.member == "Query.schemaRelationsTypesMapping" {
					most++ // it is asked for again, once a run
				}
				if n := refused.Load() - before; n > most {
					t.Errorf("%d requests were refused", n)
				}
			}
			if warned := log.FilterMessageSnippet("lacks something").All(); (len(warned) == 1) != tt.warns || len(warned) > 1 {
				t.Errorf("it warns %v", warned)
			}
		})
	}
}

func TestWhatCannotBeDoneWithoutIsNamedWithTheReason(t *testing.T) {
	for member, says := range map[string]string{
		"Mutation.registerConnector":        "does not know RegisterConnectorInput, and it cannot make itself known",
		"RegisterConnectorInput.scope":      "does not know scope, and it cannot make itself known",
		"Connector.connector_state":         "does not know connector_state, and it cannot keep its state there",
		"Mutation.pingConnector":            "does not know pingConnector, and it cannot keep its state there",
		"Mutation.pingConnector.state":      "does not know state, and it cannot keep its state there",
		"ConnectorConfig.push_exchange":     "does not know push_exchange, and nothing tells where its messages go",
		"ConnectorConfig.push_routing":      "does not know push_routing, and nothing tells where its messages go",
		"Mutation.workAdd":                  "does not know workAdd, and its runs need a work",
		"Mutation.workEdit":                 "does not know workEdit, and its runs need a work",
		"WorkEditMutations.addExpectations": "does not know addExpectations, and a work has to know what to expect",
		"WorkEditMutations.toProcessed":     "does not know toProcessed, and a work has to end",
	} {
		t.Run(member, func(t *testing.T) {
			p, c, _, _ := newestWithout(t, member)
			p.HoldObject(openctitest.Held{StandardID: "identity--1", StixIDs: []string{"identity--other"}})
			said := ""
			for _, err := range round(t, c) {
				said += err.Error() + "\n"
			}
			if !strings.Contains(said, says) {
				t.Errorf("it says: %s", said)
			}
		})
	}
}

// What a release after this connector answers: more than was asked for, values and errors that nobody knows yet.
func TestAnUnknownFutureMemberBreaksNothing(t *testing.T) {
	for body, call := range map[string]func(*opencti.Client) error{
		`{"data":{"registerConnector":{"connector_user_id":"u","new":[1],"connector_state":"x","connector_state_timestamp":{"at":1},"config":{"push_exchange":"e","push_routing":"r","quota":{},
			"connection":{"host":"h","vhost":"/","use_ssl":false,"port":5672,"user":"u","pass":"p","kind":"quorum"}}}},"extensions":{"cost":1}}`: func(c *opencti.Client) error {
			_, err := c.Register(t.Context(), opencti.Registration{Name: "n"})
			return err
		},
		`{"data":{"work":{"id":"w","status":"paused","processed_time":"later","tracking":{"import_expected_number":2,"import_processed_number":1,"lanes":{}},"errors":[
			{"timestamp":1732700000000,"message":"m","source":"{}","severity":"LOW"},null]}}}`: func(c *opencti.Client) error {
			w, err := c.Work(t.Context(), "w")
			if w.Complete {
				t.Error("a status that is not known counts as complete")
			}
			return err
		},
		`{"data":{"pingConnector":{"connector_state":"x","connector_state_timestamp":null,"orders":["stop"]}}}`: func(c *opencti.Client) error {
			_, err := c.Ping(t.Context(), "x", opencti.Info{})
			return err
		},
	} {
		url, _ := serve(t, answering(200, "application/json", body))
		if err := call(connect(t, opencti.Config{URL: url})); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
	for _, body := range []string{
		`{"errors":{"code":"E1","detail":"no"}}`, `{"errors":["no"]}`, `{"errors":[{"text":"no"}],"data":{"workAdd":null}}`,
		`{"errors":[{"message":{"en":"no"},"extensions":"E1"}]}`, `{"errors":[7]}`,
	} {
		url, requests := serve(t, answering(400, "application/json", body))
		if _, err := connect(t, opencti.Config{URL: url}).AddWork(t.Context(), "n"); err == nil || opencti.IsTemporary(err) || requests.Load() != 1 {
			t.Errorf("%s: %v after %d requests", body, err, requests.Load())
		}
	}
}

func TestAWorkThatReleasesBefore68StumbleOverIsToldToBeDeleted(t *testing.T) {
	for _, version := range []string{"5.5.4", "6.0.10", "6.8.17"} {
		p, c, _ := start(t, openctitest.Config{Version: version})
		register(t, c)
		id, err := c.AddWork(t.Context(), "run")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddExpectations(t.Context(), id, 1); err != nil {
			t.Error(err)
		}
		p.DeleteWork(id)
		for name, err := range map[string]error{"expect": c.AddExpectations(t.Context(), id, 1), "close": c.CloseWork(t.Context(), id, "", false)} {
			if told := err != nil && strings.Contains(err.Error(), opencti.ErrWorkNotAlive.Error()); told == (version == "6.8.17") {
				t.Errorf("%s, %s: %v", version, name, err)
			}
		}
	}
}

func TestAQueueOfWhichNothingIsToldIsNotTakenForAnEmptyOne(t *testing.T) {
	for _, cfg := range []openctitest.Config{{Version: "5.5.4"}, {Version: "6.1.0"}, {Without: []string{"Query.connector"}}} {
		version := fmt.Sprint(cfg.Version, cfg.Without)
		p, c, _ := start(t, cfg)
		register(t, c)
		p.SetQueue(7, 700)
		if seen, err := c.Watch(t.Context(), ""); err != nil || !seen.Untold {
			t.Errorf("%s: %+v, %v", version, seen, err)
		}
		id, err := c.AddWork(t.Context(), "run")
		if err != nil {
			t.Fatal(err)
		}
		if seen, err := c.Watch(t.Context(), id); err != nil || !seen.Untold || !seen.WorkAlive {
			t.Errorf("%s: %+v, %v", version, seen, err)
		}
		p.DeleteWork(id)
		if seen, err := c.Watch(t.Context(), id); err != nil || seen.WorkAlive {
			t.Errorf("%s: of a deleted work: %+v, %v", version, seen, err)
		}
	}
}
