package state

import (
	"testing"
	"testing/synctest"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

func TestADatasetStandsWhereEverythingIsDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		expect := func(when string, want Standing) {
			t.Helper()
			if got := r.Standing("alerts"); !got.Since.Equal(want.Since) || got.Owed != want.Owed {
				t.Errorf("%s: %+v, want %+v", when, got, want)
			}
		}
		expect("before the first run", Standing{Since: importStart})
		run := r.begin()
		begin := importStart.AddDate(0, 0, 1) // the rig's next answer
		expect("in the first run", Standing{Since: begin})
		r.mustCommit(run, "alerts", pipeline.Cursor{Since: begin, Pass: &pipeline.Pass{Started: passStart, After: "7"}, Failed: []string{"3", "5"}})
		expect("in a pass", Standing{Since: begin, Owed: 2})
		r.mustCommit(run, "alerts", pipeline.Cursor{Since: passStart})
		expect("at its end", Standing{Since: passStart})
		if other := r.Standing("iocs"); !other.Since.Equal(begin) {
			t.Errorf("one that was not imported yet: %+v", other)
		}
	})
}
