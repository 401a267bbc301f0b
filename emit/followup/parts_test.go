package followup

import (
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/state/index"
)

const part = `{"type":"report","id":"report--1","modified":"2025-01-01T00:00:00Z","name":"wide","published":"2025-01-01T00:00:00Z","object_refs":["tool--1"]`

// TestAPartThatFailsBringsTheWholeAgain lets the last part of an object fail that was too large for a message: what OpenCTI
// reports is neither the object, nor a version of it that was sent since with more.
func TestAPartThatFailsBringsTheWholeAgain(t *testing.T) {
	for name, text := range map[string]string{
		"a small one": part + "}",
		"a large one": part + `,"x_filling":"` + strings.Repeat("x", 60_000) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			o := object(t, text)
			r.platform.Hold("tool--1")
			r.index.Put(index.KeyOf(o.ID), index.Record{Digest: 42, Run: run, Seq: 1, Modified: o.Modified.UnixMicro(), Mark: index.Renewed})
			r.NoteLarge(run)([]string{o.ID})
			must(t, r.client.AddExpectations(t.Context(), r.work, 2))
			r.importText([]byte(part + "}")) // another part
			r.platform.FailImports(openctitest.Failure{ID: o.ID, Times: 1, Name: "LOCK_ERROR", Message: "locked"})
			r.importText(o.JSON)
			r.close()
			r.look()
			if rec := r.record(o.ID); rec.Mark != index.Lost {
				t.Errorf("the index takes the object for delivered: %+v", rec)
			}
			if r.index.Waiting().Has(o.ID) {
				t.Error("the part is on the shelf as if it were the object")
			}
		})
	}
}

// TestWhatTheConnectorItselfLeftOutIsNoFailedImport is about what stands among a work's errors.
func TestWhatTheConnectorItselfLeftOutIsNoFailedImport(t *testing.T) {
	r := newRig(t)
	r.platform.Hold("tool--1")
	r.deliver(object(t, part+"}"))
	must(t, r.client.AddExpectations(t.Context(), r.work, 1))
	must(t, r.client.ReportLeftOut(t.Context(), r.work, `malware--1 "a" has 7 bytes`))
	r.close()
	found := r.look()
	if found.Again != 0 || found.Failed != 0 || found.Through != 2 || r.index.Waiting().Unimported() > 0 || r.named() > 0 {
		t.Errorf("%+v, %d named", found, r.named())
	}
}
