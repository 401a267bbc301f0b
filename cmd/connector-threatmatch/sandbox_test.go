package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// small is a sandbox that a test can wait for.
func small(more ...string) []string {
	return append([]string{"sandbox", "--profiles", "6", "--alerts", "6", "--indicators", "120"}, more...)
}

func TestTheSandboxEndsWithAnAccountThatAddsUp(t *testing.T) {
	status, out, problems := run(t, nil, small()...)
	if status != 0 || !strings.Contains(out, "The account adds up.") || !strings.Contains(out, "6 of 6 profiles, 6 of 6 alerts, 120 of 120 iocs") {
		t.Errorf("status %d\n%s\n%s", status, out, problems)
	}
	if !strings.Contains(problems, "(done)") {
		t.Errorf("no progress was shown: %s", problems)
	}
}

func TestTheSandboxKeepsHowToImportAndForgetsWhereTo(t *testing.T) {
	env := []string{"THREATMATCH_IMPORT_ALERTS=false", "OPENCTI_URL=http://production", "OPENCTI_TOKEN=" + aToken, "CONNECTOR_ID=" + anID,
		"MQ_HOST=production", "HTTP_PROXY=http://production:3128", "THREATMATCH_CLIENT_SECRET=" + aSecret, "CONNECTOR_STATE_DIR=/production"}
	status, out, problems := run(t, env, small("--no-progress")...)
	if status != 0 || !strings.Contains(out, "6 of 6 profiles, 120 of 120 iocs") || strings.Contains(out, "alerts") {
		t.Errorf("status %d\n%s\n%s", status, out, problems)
	}
	if problems != "" {
		t.Errorf("there should be silence: %s", problems)
	}
}

func TestTheSandboxTakesABrokerOfItsUsers(t *testing.T) {
	broker, err := rabbitmqtest.Start(rabbitmqtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	status, out, problems := run(t, nil, small("--rabbitmq", broker.URL())...)
	if status != 0 || !strings.Contains(out, "The account adds up.") {
		t.Errorf("status %d\n%s\n%s", status, out, problems)
	}
	if broker.Published() < 120 {
		t.Errorf("%d messages reached the broker", broker.Published())
	}
}

func TestAServedSandboxIsFoundByTheEnvironmentThatItPrints(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	read, write := io.Pipe()
	served := make(chan int, 1)
	go func() {
		served <- execute(ctx, small("--serve"), console{write, io.Discard, nil})
		write.Close()
	}()
	var env []string
	text := make([]byte, 1<<16)
	n, err := read.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text[:n])) {
		if pair, ok := strings.CutPrefix(strings.TrimSpace(line), "export "); ok {
			name, value, _ := strings.Cut(pair, "=")
			env = append(env, name+"="+strings.Trim(value, "'"))
		}
	}
	rest := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(read) // a closed pipe is its end
		rest <- string(all)
	}()
	if status, _, problems := run(t, env); status != 0 {
		t.Errorf("the connector ended with status %d: %s", status, problems)
	}
	cancel()
	select {
	case status := <-served:
		if last := <-rest; status != 0 || !strings.Contains(last, "messages arrived") {
			t.Errorf("the sandbox ended with status %d: %s", status, last)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the sandbox does not end")
	}
}

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
		{"no state", func(a *account, q *arrivals) { a.state("") }, "no JSON object"},
		{"an unfinished state", func(a *account, q *arrivals) { a.state(`{"datasets":{}}`) }, "no last_run"},
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
	a := takeAccount(load(t, nil), twin, map[string]int{profilesDataset: 1}, newTally(), time.Second, errors.New("it broke"))
	for _, want := range []string{"the run failed: it broke", "1 of the profiles were not fetched"} {
		if !strings.Contains(strings.Join(a.wrong, "\n"), want) {
			t.Errorf("%q is missing in %q", want, a.wrong)
		}
	}
}
