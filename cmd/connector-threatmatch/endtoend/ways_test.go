package endtoend

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// releases that take bundles differently: without works of many parts, as they are, and split.
var releases = []string{"6.8.0", "7.260817.0", "7.260901.0"}

func TestTheSameGoesThroughTheAPI(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			data := someData()
			w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}, platform: openctitest.Config{Version: release}})
			w.env["CONNECTOR_QUEUE_PROTOCOL"] = "api"
			w.env["MQ_HOST"] = "nobody.invalid" // nobody asks for it
			w.run(exitOK)
			messages := w.take()
			w.checkWhole(data)
			w.checkBooks(messages, false)
			if pushes := w.platform.Calls("stixBundlePush"); release == "7.260901.0" && pushes > len(messages)/2 {
				t.Errorf("%d messages took %d calls", len(messages), pushes)
			}
			w.run(exitOK)
			if again := w.take(); len(again) > 0 {
				t.Errorf("%d messages came again", len(again))
			}
		})
	}
}

func TestNothingIsLostWhateverTheAPIAnswers(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]openctitest.Do{
		"refused":     openctitest.Refuse,
		"lost answer": openctitest.DropAnswer,
		"503":         openctitest.Status(503, "<html>busy</html>"),
		"no broker":   openctitest.GraphQLError("UNSUPPORTED_ERROR", "Invalid bundle"),
	} {
		for _, release := range releases[1:] {
			t.Run(name+" "+release, func(t *testing.T) {
				t.Parallel()
				data := someData()
				w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}, platform: openctitest.Config{Version: release}})
				w.env["CONNECTOR_QUEUE_PROTOCOL"] = "api"
				hits := w.platform.Fault(openctitest.Rule{Operation: "stixBundlePush", From: 3, To: 6, Do: fault})
				w.run(exitOK)
				if hits() != 4 {
					t.Fatalf("%d calls went wrong", hits())
				}
				messages := w.take()
				checkOrder(t, messages)
				checkHeld(t, messages, held(t, data, defaultMapping))
			})
		}
	}
}

func TestARightThatIsMissingForTheAPIFailsTheRunAndIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: someData()}})
	w.env["CONNECTOR_QUEUE_PROTOCOL"] = "api"
	w.platform.Fault(openctitest.Rule{Operation: "stixBundlePush", To: -1, Do: openctitest.GraphQLError("FORBIDDEN_ACCESS", "You are not allowed to do this.")})
	p := w.run(exitRunFailed)
	if !p.logs("stixBundlePush") || !p.logs("the rights of its user") {
		t.Error(p.tail())
	}
	if s := parseState(t, w.platform.State()); !s.LastRun.IsZero() {
		t.Errorf("the state says that something was delivered: %s", w.platform.State())
	}
}

func TestNothingIsSentWhereTheQueueIsNotWanted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: someData()}})
	w.env["CONNECTOR_SEND_TO_QUEUE"] = "false"
	w.run(exitOK)
	if n := len(w.take()); n > 0 || len(w.platform.Works()) > 0 {
		t.Errorf("%d messages, %d works", n, len(w.platform.Works()))
	}
	if s := parseState(t, w.platform.State()); s.LastRun.IsZero() {
		t.Errorf("the run does not count: %s", w.platform.State())
	}
}

func TestAnalystsGetEverythingAsWorkbenches(t *testing.T) {
	t.Parallel()
	data := someData()
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}})
	w.env["CONNECTOR_VALIDATE_BEFORE_IMPORT"] = "true"
	w.platform.Fault(openctitest.Rule{Operation: "uploadPending", Do: openctitest.DropAnswer})
	w.run(exitOK)
	if n := len(w.take()); n > 0 {
		t.Errorf("%d messages were queued", n)
	}
	work, files := w.lastWork(), w.platform.Workbenches()
	if work.Expected != len(files) || work.Processed != len(files) || !work.Complete || work.Closed != 1 || work.InError {
		t.Errorf("the work of %d files: %+v", len(files), work)
	}
	var messages []delivery
	for i, file := range files {
		want := fmt.Sprintf("%s-%04d.json", work.ID, i+1)
		if i == 0 {
			want = work.ID + ".json"
		}
		if file.Name != want || file.Kind != "application/json" {
			t.Errorf("file %d is %s, %s", i, file.Name, file.Kind)
		}
		messages = append(messages, readBundle(t, file.Text)...)
	}
	checkOrder(t, messages)
	checkHeld(t, messages, held(t, data, defaultMapping))
	w.run(exitOK)
	if n := len(w.platform.Workbenches()); n != len(files) {
		t.Errorf("%d files were uploaded again", n-len(files))
	}
}

// TestAnalystsGetUnchangedItemsAgainFromABackfillAlone lets each run look back over all there is.
func TestAnalystsGetUnchangedItemsAgainFromABackfillAlone(t *testing.T) {
	t.Parallel()
	data := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 7, Profiles: 30, Alerts: 30, Indicators: 300})
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}})
	w.env["CONNECTOR_VALIDATE_BEFORE_IMPORT"], w.env["THREATMATCH_OVERLAP"] = "true", "P30Y"
	w.run(exitOK)
	first := w.platform.Workbenches()
	calls := w.api.Count("/api/stix/*")
	w.run(exitOK)
	if n := w.api.Count("/api/stix/*") - calls; n < calls/2 {
		t.Fatalf("the second run makes %d calls for items, the first has made %d", n, calls)
	}
	for _, file := range w.platform.Workbenches()[len(first):] {
		t.Errorf("the second run brings again %s", file.Text[:min(len(file.Text), 2000)])
	}
	w.startCommand([]string{"backfill", "--from", "1990-01-01"}, "THREATMATCH_IMPORT_FROM_DATE="+importMiddle).wants(exitOK)
	indicators := func(files []openctitest.Workbench) (ids []string) {
		for _, file := range files {
			for _, d := range readBundle(t, file.Text) {
				if d.Type == "indicator" {
					ids = append(ids, d.ID)
				}
			}
		}
		return ids
	}
	before, again := indicators(first), indicators(w.platform.Workbenches()[len(first):])
	if len(before) < 300 || len(again) < 100 || !containsAll(before, again) {
		t.Errorf("of %d indicators the backfill brings %d", len(before), len(again))
	}
}

func TestAnalystsGetEachRunAsADraft(t *testing.T) {
	t.Parallel()
	data := someData()
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}})
	w.env["CONNECTOR_VALIDATE_BEFORE_IMPORT"], w.env["CONNECTOR_VALIDATION_MODE"] = "true", "draft"
	w.platform.Fault(openctitest.Rule{Operation: "draftWorkspaceAdd", Do: openctitest.Refuse})
	w.run(exitOK)
	messages := w.take()
	w.checkWhole(data)
	w.checkBooks(messages, false)
	drafts, work := w.platform.Drafts(), w.lastWork()
	if len(drafts) != 1 || drafts[0].Name != work.ID+".json" || work.Draft != drafts[0].ID {
		t.Fatalf("drafts %v of the work %+v", drafts, work)
	}
	for _, m := range messages {
		if m.Draft != drafts[0].ID {
			t.Fatalf("%s goes into the draft %q", m.ID, m.Draft)
		}
	}
	w.run(exitOK)
	if n := len(w.platform.Drafts()); n != 1 {
		t.Errorf("a run without news opened a draft: %d", n)
	}
}

// readBundle reads a bundle of several objects, no two of which may have the same id.
func readBundle(t *testing.T, text []byte) (list []delivery) {
	t.Helper()
	var bundle struct {
		Type    string            `json:"type"`
		ID      string            `json:"id"`
		Version string            `json:"spec_version"`
		Objects []json.RawMessage `json:"objects"`
	}
	if err := strictly(text, &bundle); err != nil || bundle.Type != "bundle" || bundle.ID == "" || bundle.Version != "2.1" {
		t.Fatalf("%v: %s", err, text[:min(len(text), 300)])
	}
	seen := map[string]bool{}
	for _, raw := range bundle.Objects {
		d, err := readObject(raw)
		if err != nil {
			t.Fatal(err)
		}
		if seen[d.ID] {
			t.Errorf("a bundle has %s twice", d.ID)
		}
		seen[d.ID] = true
		list = append(list, d)
	}
	return list
}
