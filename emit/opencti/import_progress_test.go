package opencti_test

import (
	"encoding/json"
	"net/http"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
)

// TestWhatTheConnectorSaysOfAWorkIsNoFailedImport, though the platform puts it among what failed.
func TestWhatTheConnectorSaysOfAWorkIsNoFailedImport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := openctitest.New(openctitest.Config{Token: token})
		if err != nil {
			t.Fatal(err)
		}
		c := connect(t, opencti.Config{URL: "http://opencti.test", HTTP: &http.Client{Transport: p.Transport()}})
		register(t, c)
		ctx := t.Context()
		id, err := c.AddWork(ctx, "run")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddExpectations(ctx, id, 4); err != nil {
			t.Fatal(err)
		}
		fail := func(name, message string) {
			t.Helper()
			time.Sleep(time.Second)
			p.FailImports(openctitest.Failure{ID: "tool--1", Name: name, Message: message})
			text, _ := json.Marshal(map[string]any{"work_id": id, "content": []byte(`{"type":"bundle","objects":[{"type":"tool","id":"tool--1","name":"x"}]}`)})
			p.Import(text)
		}
		fail("LOCK_ERROR", "busy")
		if err := c.ReportLeftOut(ctx, id, "tool--2"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := c.CloseWork(ctx, id, "164 objects sent; failed: import alerts", true); err != nil {
			t.Fatal(err)
		}
		fail("", "it did not answer")
		got, err := c.ImportProgress(ctx, id)
		want := opencti.ImportProgress{WorkAlive: true, Expected: 4, Done: 3, Errors: map[string]int{"LOCK_ERROR": 1, "": 1}, Said: 2}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v", got, err)
		}
	})
}
