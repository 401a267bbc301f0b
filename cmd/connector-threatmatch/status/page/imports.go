package page

import (
	"fmt"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
)

// notAsked reports that OpenCTI has something to import and was not asked yet how far it is. One that cannot be asked is another matter.
func notAsked(i snapshot.Imports) bool { return i.Open > 0 && i.AsOf.IsZero() && i.Unknown == "" }

// doneOf is the share of what was sent that OpenCTI is through with, from 0 to 1.
func doneOf(i snapshot.Imports) float64 { return float64(i.Done) / float64(max(i.Expected, 1)) }

// throughWith says how much OpenCTI is through with of all that it was sent, which is more than the run under way has sent; "" where
// nothing was.
func throughWith(s snapshot.Snapshot) string {
	i := s.Imports
	if notAsked(i) {
		return "OpenCTI was not asked yet what it has imported."
	}
	if i.Expected == 0 || i.AsOf.IsZero() {
		return ""
	}
	text := "OpenCTI is"
	if i.Unknown != "" {
		text = "As of " + newMoment(i.AsOf, s.At).Clock() + " OpenCTI was"
	}
	text += fmt.Sprintf(" through with %s of all that it was sent, earlier runs included: %s of %s",
		percent(doneOf(i)), words.Grouped(i.Done), words.Counted(i.Expected, "message"))
	if failed := failures(i); failed > 0 {
		text += "; " + words.Grouped(failed) + " of them failed"
	}
	return text + "."
}

// failures counts what OpenCTI could not import.
func failures(i snapshot.Imports) (n int64) {
	for _, f := range i.Failed {
		n += f.Count
	}
	return n
}

// stalled reports that OpenCTI was sent something a while ago and imports nothing. What a run has just sent is nobody's fault.
func stalled(s snapshot.Snapshot) bool {
	const while = 3 * time.Minute
	i := s.Imports
	if i.Left() == 0 || i.Lately > 0 || i.Unknown != "" || notAsked(i) || s.At.Sub(s.Started) <= while {
		return false
	}
	if s.Run != nil {
		return s.At.Sub(s.Run.Began) > while
	}
	return len(s.History) == 0 || s.At.Sub(s.History[0].Ended) > while
}

// pass is the figure of a station. Of OpenCTI nothing is known while it cannot be asked, and little before it was asked twice.
func pass(s snapshot.Snapshot, at snapshot.Station) string {
	if at.Name == snapshot.OpenCTI {
		if s.Imports.Unknown != "" {
			return "not known"
		}
		if paceToCome(s) {
			return "not known yet"
		}
	}
	return rate(at.Rate, at.Unit)
}

// tells is what a station is at. Of OpenCTI it leaves out how long that takes for what was sent so far: the page tells one end.
func tells(s snapshot.Snapshot, at snapshot.Station) string {
	i := s.Imports
	if at.Name == snapshot.Connector && !at.Trouble && s.Run == nil && s.Activity == "idle" && isDue(s) {
		return "At rest; the next run is " + due(s) + "."
	}
	if at.Name != snapshot.OpenCTI || at.Trouble || i.Unknown != "" {
		return sentence(at.Says)
	}
	switch failed := failures(i); {
	case notAsked(i):
		return "Was not asked yet what it has imported."
	case i.Expected > 0 && failed > 0:
		return fmt.Sprintf("Is through with %s of %s; %s of them failed.", words.Grouped(i.Done), words.Counted(i.Expected, "message"), words.Grouped(failed))
	case i.Expected > 0:
		return fmt.Sprintf("Has imported %s of %s.", words.Grouped(i.Done), words.Counted(i.Expected, "message"))
	}
	return sentence(at.Says)
}

// paceToCome reports that a rate of 0 says only that too little time has passed to measure one.
func paceToCome(s snapshot.Snapshot) bool {
	const measured = 30 * time.Second
	i := s.Imports
	switch {
	case i.Lately > 0:
		return false
	case notAsked(i):
		return true
	case i.Done == 0 && i.AsOf.IsZero(), i.Open == 0 && s.Run == nil:
		return false
	}
	return s.At.Sub(s.Started) < measured || s.Run != nil && s.At.Sub(s.Run.Began) < measured
}
