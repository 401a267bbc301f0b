package connector

import (
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
	"github.com/opencti-connectors/threatmatch/emit/followup"
)

// share tells, as the end of a line, how much of what was sent OpenCTI has imported; nothing where it has nothing to import.
func share(i followup.Imports) string {
	if i.Expected == 0 {
		return ""
	}
	return "; OpenCTI has imported " + status.ImportsOf(i).String()
}

// importTale tells between two runs how OpenCTI gets on with what was sent: after a minute, and then more and more rarely, for it may
// take days.
type importTale struct {
	next, pause time.Time // when it is told again, and when that was decided
	expected    int64     // messages, when something was last left
}

const (
	firstTold  = time.Minute
	latestTold = time.Hour
)

// begin begins anew, after a run.
func (t *importTale) begin(now time.Time) { *t = importTale{next: now.Add(firstTold), pause: now} }

// tell tells a line when it is time to, and one when everything is imported.
func (t *importTale) tell(log *zap.Logger, i followup.Imports, now time.Time) {
	switch {
	case i.Left() == 0 && t.expected > 0:
		log.Info("OpenCTI has imported all that was sent: " + words.Counted(t.expected, "message"))
		t.expected = 0
	case i.Left() == 0 || now.Before(t.next):
		if i.Left() > 0 {
			t.expected = i.Expected
		}
	default:
		t.expected = i.Expected
		log.Info("OpenCTI has imported " + status.ImportsOf(i).String())
		pause := min(2*t.next.Sub(t.pause), latestTold)
		t.next, t.pause = now.Add(pause), now
	}
}
