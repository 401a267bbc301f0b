package connector

import (
	"fmt"
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
	next            time.Time // when it is told again
	pause           time.Duration
	through, failed int // messages of works that have come to their end, since the end was last told
}

const (
	firstTold  = time.Minute
	latestTold = time.Hour
)

// begin begins anew, after a run.
func (t *importTale) begin(now time.Time) { t.next, t.pause = now.Add(firstTold), 2*firstTold }

// tell tells a line when it is time to, and one when everything is imported: no work is left, and some have come to their end.
func (t *importTale) tell(log *zap.Logger, i followup.Imports, found followup.Found, open int, now time.Time) {
	t.through, t.failed = t.through+found.Through, t.failed+found.Failed
	switch {
	case open == 0 && t.through > 0:
		text := "OpenCTI has worked off all that was sent: " + words.Counted(t.through, "message")
		if t.failed > 0 {
			text += fmt.Sprintf(", of which it could not import %s; the log names them", words.Grouped(t.failed))
		}
		log.Info(text)
		t.through, t.failed = 0, 0
	case i.Left() > 0 && !now.Before(t.next) && i.Err == nil:
		log.Info("OpenCTI has imported " + status.ImportsOf(i).String())
		t.next, t.pause = now.Add(t.pause), min(2*t.pause, latestTold)
	}
}
