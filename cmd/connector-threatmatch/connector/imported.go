package connector

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
	"github.com/opencti-connectors/threatmatch/emit/followup"
)

// share tells, as the end of a line, how much of what was sent OpenCTI has imported; nothing where it has nothing to import.
func share(i followup.Imports) string {
	if i.Expected == 0 {
		return ""
	}
	return "; OpenCTI has imported " + importedOf(i)
}

// importedOf tells how much OpenCTI has imported, how fast, how long the rest takes, and what has failed.
func importedOf(i followup.Imports) string {
	text := fmt.Sprintf("%s of %s", words.Grouped(i.Done), words.Counted(i.Expected, "message"))
	if i.Left() > 0 {
		text += fmt.Sprintf(", %.3g/s", i.Lately)
	}
	if left, known := i.Remaining(); known && i.Left() > 0 {
		text += ", about " + words.Duration(left) + " left"
	}
	var failed []string
	for _, name := range slices.Sorted(maps.Keys(i.Failed)) {
		failed = append(failed, fmt.Sprintf("%s %s", words.Grouped(i.Failed[name]), reasonNamed(name)))
	}
	if len(failed) > 0 {
		text += "; failed: " + strings.Join(failed, ", ")
	}
	return text
}

func reasonNamed(name string) string {
	if name == "" {
		return "without a reason"
	}
	return name
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
		log.Info("OpenCTI has imported " + importedOf(i))
		pause := min(2*t.next.Sub(t.pause), latestTold)
		t.next, t.pause = now.Add(pause), now
	}
}
