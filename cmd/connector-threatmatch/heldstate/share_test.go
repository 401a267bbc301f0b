package heldstate

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/history"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
	"github.com/opencti-connectors/threatmatch/emit/followup"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
)

// withWork has the platform and the state know a work of a thousand messages of which some are in the queue.
func (r *rig) withWork(t *testing.T) {
	t.Helper()
	id, err := r.Platform.AddWork(t.Context(), "a run")
	if err == nil {
		err = r.Platform.AddExpectations(t.Context(), id, 1000)
	}
	if err == nil {
		_, err = r.Platform.StoreState(t.Context(), strings.Replace(text, `"index"`,
			fmt.Sprintf(`"works":[{"id":%q,"run":7,"opened":"1999-12-31T00:00:00Z","open":false,"from":{}}],"index"`, id), 1))
	}
	if err != nil {
		t.Fatal(err)
	}
	r.platform.SetQueue(900, 3_600_000)
	r.StateDir = t.TempDir()
}

func TestWhatOpenCTIHasImportedIsShownWithTheStateOfTheConnector(t *testing.T) {
	r := newRig(t, openctitest.Config{})
	r.withWork(t)
	show := func() string {
		r.out.Reset()
		if err := r.Show(t.Context()); err != nil {
			t.Fatal(err)
		}
		return r.out.String()
	}
	for _, want := range []string{"0 of 1,000", "in the queue: 900 messages, 3.6 MB", "how fast its workers import is not known here"} {
		if said := show(); !strings.Contains(said, want) {
			t.Errorf("%q is missing in\n%s", want, said)
		}
	}

	past := history.History{Runs: []snapshot.Run{{Purpose: snapshot.Import, Began: longAgo, Sent: 1000, Outcome: "incomplete: ThreatMatch was away"}}, ImportRate: followup.Rate{PerSecond: 5, At: time.Date(1999, 12, 31, 23, 0, 0, 0, time.UTC)}}
	if err := past.Write(r.StateDir); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"OpenCTI has imported 0 of 1,000 messages, about 3m20s left", "at 5 messages/s, which its workers managed at 1999-12-31 23:00:00Z",
		"last run        import of 1999-04-01 00:00:00Z, 1,000 objects sent: incomplete: ThreatMatch was away"} {
		if said := show(); !strings.Contains(said, want) {
			t.Errorf("with a rate: %q is missing in\n%s", want, said)
		}
	}

	r.JSON = true
	var told shown
	if err := json.Unmarshal([]byte(show()), &told); err != nil || told.OpenCTI == nil || told.OpenCTI.Expected != 1000 || told.OpenCTI.Remaining != 200 || told.LastRun == nil || told.LastRun.Sent != 1000 {
		t.Errorf("as JSON: %+v, %v", told.OpenCTI, err)
	}
	r.JSON = false

	r.platform.Fault(openctitest.Rule{Operation: "work", To: -1, Do: openctitest.GraphQLError("DATABASE_ERROR", "the database is restarting")})
	if said := show(); !strings.Contains(said, "unknown") || !strings.Contains(said, "cannot be asked") || !strings.Contains(said, "the database is restarting") {
		t.Errorf("of what cannot be asked:\n%s", said)
	}
}
