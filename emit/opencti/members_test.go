package opencti_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
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

// held answers operations by a platform, each when the test lets it.
func held(t *testing.T, p http.Handler, hold func(operation string)) *opencti.Client {
	t.Helper()
	url, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		var asked struct{ OperationName string }
		_ = json.Unmarshal(body, &asked)
		hold(asked.OperationName)
		r.Body = io.NopCloser(bytes.NewReader(body))
		p.ServeHTTP(w, r)
	}))
	return connect(t, opencti.Config{URL: url})
}

// A work that is not asked for because the platform tells nothing of works would be taken for a deleted one.
func TestAnAnswerThatComesDuringTheSurveyIsReadAsItWasAskedFor(t *testing.T) {
	p, err := openctitest.New(openctitest.Config{Token: token, Without: []string{"Query.work"}})
	if err != nil {
		t.Fatal(err)
	}
	watching, surveying, watched := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var late atomic.Bool
	c := held(t, p, func(operation string) {
		switch {
		case operation == "watch":
			close(watching)
			<-surveying
		case operation == "survey" && late.Load():
			close(surveying)
			<-watched
		}
	})
	register(t, c)
	late.Store(true)
	var running sync.WaitGroup
	running.Go(func() {
		defer close(watched)
		if seen, err := c.Watch(t.Context(), "a work"); err != nil || !seen.WorkAlive {
			t.Errorf("%+v, %v", seen, err)
		}
	})
	<-watching
	register(t, c)
	running.Wait()
}

func TestAFieldThatIsLackingTakesNoArgumentOfItsNameAlong(t *testing.T) {
	p, c, _ := start(t, openctitest.Config{Without: []string{"WorkMessage.message"}})
	register(t, c)
	id, err := c.AddWork(t.Context(), "run")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Work(t.Context(), id); err != nil {
		t.Error(err)
	}
	if err := c.CloseWork(t.Context(), id, "12 objects", false); err != nil {
		t.Error(err)
	}
	if w := p.Works()[0]; w.Message != "12 objects" {
		t.Errorf("the work was closed with %q", w.Message)
	}
}

func TestAnArgumentThatIsLackingTakesNoFieldOfItsNameAlong(t *testing.T) {
	p, c, _ := start(t, openctitest.Config{Without: []string{"WorkEditMutations.toProcessed.message"}})
	register(t, c)
	id, err := c.AddWork(t.Context(), "run")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWork(t.Context(), id, "12 objects", false); err != nil || p.Works()[0].Closed != 1 {
		t.Error(err)
	}
	if err := c.ReportLeftOut(t.Context(), id, "an object"); err != nil {
		t.Error(err)
	}
	if report, err := c.Work(t.Context(), id); err != nil || len(report.Errors) != 1 || !strings.Contains(report.Errors[0].Message, "an object") {
		t.Errorf("%+v, %v", report, err)
	}
}

// An everyday word of a sentence that is not understood may be anything, and a name that was not asked for cannot be what is amiss.
func TestASentenceThatIsNotUnderstoodTakesLittleAway(t *testing.T) {
	for sentence, ask := range map[string]func(*opencti.Client) error{
		"the message is odd": func(c *opencti.Client) error { return c.CloseWork(t.Context(), "work_1", "12 objects", false) },
		"something at queue_threshold is odd": func(c *opencti.Client) error {
			_, err := c.AddWork(t.Context(), "run")
			return err
		},
	} {
		url, requests := serve(t, answering(200, "application/json", `{"errors":[{"message":`+quote(sentence)+`,"extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}`))
		if err := ask(connect(t, opencti.Config{URL: url})); err == nil || requests.Load() != 1 {
			t.Errorf("%s: %v after %d requests", sentence, err, requests.Load())
		}
	}
}

func TestAWayThatAReleaseDoesNotKnowIsNamedWithAnother(t *testing.T) {
	const old = "6.1.0"
	for _, tt := range []struct {
		name     string
		cfg      openctitest.Config
		try, ask func(*opencti.Client) error
		says     string
	}{
		{"a draft", openctitest.Config{Version: old}, createDraft, takesDrafts, "drafts need OpenCTI 6.4: set CONNECTOR_VALIDATION_MODE=workbench"},
		{"a draft for a work", openctitest.Config{Without: []string{"WorkEditMutations.addDraftContext"}}, addDraft, takesDrafts,
			"drafts need OpenCTI 6.4: set CONNECTOR_VALIDATION_MODE=workbench"},
		{"the API", openctitest.Config{Version: old}, pushBundle, takesBundles, "bundles through the API need OpenCTI 6.3: set CONNECTOR_QUEUE_PROTOCOL=amqp"},
		{"a workbench", openctitest.Config{Without: []string{"Mutation.uploadPending"}}, upload, upload, "set CONNECTOR_VALIDATE_BEFORE_IMPORT=false"},
	} {
		_, c, _ := start(t, tt.cfg)
		register(t, c)
		for what, err := range map[string]error{"done": tt.try(c), "asked": tt.ask(c)} {
			if err == nil || !opencti.IsRefused(err) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%s, %s: %v", tt.name, what, err)
			}
			if problem, remedy := opencti.ChosenWay(err); problem == "" || !strings.Contains(problem+": "+remedy, tt.says) {
				t.Errorf("%s, %s: %q, %q", tt.name, what, problem, remedy)
			}
		}
	}
	p, c, _ := start(t, openctitest.Config{})
	register(t, c)
	if err := errors.Join(takesDrafts(c), takesBundles(c)); err != nil || len(p.Drafts()) != 0 || len(p.Works()) != 0 {
		t.Errorf("asking a release that knows all: %v", err)
	}
	if problem, remedy := opencti.ChosenWay(errors.New("other")); problem+remedy != "" {
		t.Errorf("of another error: %q, %q", problem, remedy)
	}
}

func createDraft(c *opencti.Client) error {
	_, err := c.CreateDraft(context.Background(), "a")
	return err
}
func addDraft(c *opencti.Client) error {
	return c.AddDraftContext(context.Background(), "work", "draft")
}
func pushBundle(c *opencti.Client) error {
	return c.PushBundle(context.Background(), "work", []byte(`{}`))
}
func upload(c *opencti.Client) error {
	return c.UploadWorkbench(context.Background(), "a.json", []byte(`{}`))
}
func takesDrafts(c *opencti.Client) error  { return c.TakesDrafts(context.Background()) }
func takesBundles(c *opencti.Client) error { return c.TakesBundles(context.Background()) }

func TestAFileThatThePlatformHasNotTakenIsAFailure(t *testing.T) {
	url, _ := serve(t, answering(200, "application/json", `{"data":{"uploadPending":null}}`))
	if err := upload(connect(t, opencti.Config{URL: url})); err == nil || !strings.Contains(err.Error(), "has not taken the file") {
		t.Error(err)
	}
}
