package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/progress"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// message is what the queue would hold of an object.
func message(work, object string) []byte {
	bundle := fmt.Sprintf(`{"type":"bundle","objects":[%s]}`, object)
	body, err := json.Marshal(map[string]any{"content": []byte(bundle), "work_id": work})
	if err != nil {
		panic(err) // texts
	}
	return body
}

func TestTheAccountSaysWhatDoesNotAddUp(t *testing.T) {
	const good = `{"id":"tool--1","type":"tool","created_by_ref":null}`
	closed := openctitest.Work{ID: "w", Expected: 1, Closed: 1}
	for _, tt := range []struct {
		name  string
		make  func(*account, *arrivals)
		fault string
	}{
		{"nothing", func(a *account, q *arrivals) { a.wentOut(q) }, "nothing reached the queue"},
		{"an early object", func(a *account, q *arrivals) {
			q.add(message("w", `{"id":"report--1","type":"report","object_refs":["tool--1"]}`))
			q.add(message("w", good))
			a.wentOut(q)
		}, "report--1 before tool--1"},
		{"rubbish", func(a *account, q *arrivals) { q.add([]byte("{")); a.wentOut(q) }, "no bundle"},
		{"no work", func(a *account, q *arrivals) { a.works(nil, q) }, "0 works"},
		{"two works", func(a *account, q *arrivals) { a.works([]openctitest.Work{closed, closed}, q) }, "2 works"},
		{"an open work", func(a *account, q *arrivals) {
			q.add(message("w", good))
			a.works([]openctitest.Work{{ID: "w", Expected: 1}}, q)
		}, "still open"},
		{"a work closed twice", func(a *account, q *arrivals) {
			q.add(message("w", good))
			a.works([]openctitest.Work{{ID: "w", Expected: 1, Closed: 2}}, q)
		}, "2 times"},
		{"a failed work", func(a *account, q *arrivals) {
			q.add(message("w", good))
			a.works([]openctitest.Work{{ID: "w", Expected: 1, Closed: 1, InError: true}}, q)
		}, "closed as failed"},
		{"wrong expectations", func(a *account, q *arrivals) { a.works([]openctitest.Work{closed}, q) }, "expects 1 messages and got 0"},
		{"messages of another work", func(a *account, q *arrivals) {
			q.add(message("other", good))
			a.works([]openctitest.Work{closed}, q)
		}, "expects 1 messages and got 0"},
		{"no state", func(a *account, q *arrivals) { a.state("") }, "no run that was complete"},
		{"an unfinished state", func(a *account, q *arrivals) { a.state(`{"datasets":{}}`) }, "cannot be read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := &account{}
			tt.make(a, newArrivals())
			if !strings.Contains(strings.Join(a.wrong, "\n"), tt.fault) {
				t.Errorf("got %q, want %q", a.wrong, tt.fault)
			}
			var out bytes.Buffer
			a.print(&out)
			if !strings.Contains(out.String(), "does not add up") {
				t.Errorf("got %s", out.String())
			}
		})
	}
	a, q := &account{}, newArrivals()
	q.add(message("w", good))
	a.wentOut(q)
	a.works([]openctitest.Work{closed}, q)
	a.state(`{"last_run": "2026-01-01T00:00:00+00:00"}`)
	if len(a.wrong) > 0 {
		t.Errorf("all is well, but: %q", a.wrong)
	}
}

func TestAFailedRunAndAMissingItemDoNotAddUp(t *testing.T) {
	twin, err := startTwins(threatmatchtest.Config{Data: threatmatchtest.Generate(threatmatchtest.Shape{Profiles: 1})}, "", false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := twin.close(); err != nil {
			t.Error(err)
		}
	}()
	cfg, _, err := config.Load("", false, configtest.Environ(nil))
	if err != nil {
		t.Fatal(err)
	}
	a := takeAccount(cfg, twin, map[string]int{fetch.ProfilesDataset: 1}, progress.NewTally(messages), time.Second, errors.New("it broke"))
	for _, want := range []string{"the run failed: it broke", "1 of the profiles were not fetched"} {
		if !strings.Contains(strings.Join(a.wrong, "\n"), want) {
			t.Errorf("%q is missing in %q", want, a.wrong)
		}
	}
}
