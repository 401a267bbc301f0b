package page

import (
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
)

func ends(s snapshot.Snapshot) answer {
	a := answer{Question: "When it ends"}
	if why := endUnknown(s); why != "" {
		a.Says, a.Notes = "Not known", []string{why}
		return a
	}
	end, sure := remaining(s)
	switch {
	case stopping(s):
		a.Says, a.Notes = "Within seconds", []string{settling}
	case end > 0:
		a.Says, a.When = string(sure), newMoment(s.At.Add(end), s.At)
		if s.Run != nil {
			a.Notes = append(a.Notes, reading(s, sure))
		}
		if s.Imports.Rate > 0 {
			a.Notes = append(a.Notes, "OpenCTI imports "+rate(s.Imports.Rate, "messages")+".")
		} else {
			a.Notes = append(a.Notes, "How fast OpenCTI imports is not known yet.")
		}
	case s.Run != nil || s.Imports.Left() > 0:
		a.Says, a.Notes = "Not known", []string{"The pace shows after some pages and messages."}
	case !s.NextRun.IsZero():
		a.Says, a.Notes = "Nothing is under way", []string{nextBegins(s)}
	case s.Activity == "starting":
		a.Says, a.Notes = "Not known yet", []string{"The first run begins when OpenCTI knows the connector."}
	default:
		a.Says, a.Notes = "Nothing is under way", []string{"No run is due."}
	}
	return a
}

// endUnknown says why no end can be told of what is under way, "" where one may be.
func endUnknown(s snapshot.Snapshot) string {
	trouble, troubled := inTrouble(s.Way)
	underWay := s.Run != nil || s.Imports.Left() > 0 || s.Imports.Open > 0
	switch {
	case stopping(s) || !underWay:
		return ""
	case troubled && (s.Run != nil || trouble.Name == snapshot.OpenCTI):
		return untilItIsWell(s)
	case s.Imports.Unknown != "":
		return "OpenCTI cannot be asked what it has imported."
	case stalled(s):
		return "OpenCTI imports nothing at the moment."
	case s.Run == nil && notAsked(s.Imports):
		return "OpenCTI was not asked yet what it has imported."
	}
	return ""
}

// untilItIsWell says what has to become of what is in trouble: refused credentials and a connector that is stuck mend by no waiting.
func untilItIsWell(s snapshot.Snapshot) string {
	for _, at := range s.Way {
		if says, refused := refusal(s, at.Name); at.Trouble && refused {
			return sentence(says)
		}
	}
	at, _ := inTrouble(s.Way)
	switch {
	case at.Name == snapshot.Connector:
		return "It goes on when the connector is started anew."
	case at.Name == snapshot.OpenCTI && s.Imports.Unknown != "":
		return "OpenCTI cannot be asked what it has imported; it is asked again."
	}
	return "It goes on by itself when " + system(at.Name) + " is well again."
}

// isDue reports that the next run should have begun.
func isDue(s snapshot.Snapshot) bool { return !s.NextRun.IsZero() && !s.NextRun.After(s.At) }

// due says of a run that should have begun what it waits for.
func due(s snapshot.Snapshot) string {
	_, troubled := find(s.Way, func(at snapshot.Station) bool { return at.Name == snapshot.OpenCTI && at.Trouble })
	switch {
	case s.Run != nil:
		return "due, after the one under way"
	case troubled:
		return "due; it waits for OpenCTI"
	}
	return "due"
}

func nextBegins(s snapshot.Snapshot) string {
	if isDue(s) {
		return "The next run is " + due(s) + "."
	}
	return "The next run begins " + newMoment(s.NextRun, s.At).Relative() + "."
}

func reading(s snapshot.Snapshot, sure certainty) string {
	switch {
	case s.Run.Remaining > 0 && !heldBack(s):
		return "Reading and sending: about " + seconds(s.Run.Remaining) + "."
	case sure == roughly:
		return "If what is still to be read is like what was read."
	}
	return "How much there is still to be read is not known yet."
}

// heldBack reports that how fast the run reads says nothing of when it ends: something is in trouble, or OpenCTI's pace decides.
func heldBack(s snapshot.Snapshot) bool {
	_, held := find(s.Way, func(at snapshot.Station) bool { return at.Trouble || at.Slowest && at.Name == snapshot.OpenCTI })
	return held || s.Queue.Buffering
}

// certainty is a word before a time.
type certainty string

const (
	about     certainty = "about"
	roughly   certainty = "roughly"
	notBefore certainty = "not before"
)

// remaining is how long it takes until OpenCTI has imported everything, 0 for unknown.
func remaining(s snapshot.Snapshot) (time.Duration, certainty) {
	if s.Run == nil {
		return span(s.Imports.Remaining), about
	}
	more, sure := toCome(s)
	if sure == notBefore || s.Imports.Rate <= 0 {
		return span(max(s.Imports.Remaining, s.Run.Remaining)), notBefore
	}
	imported := (float64(s.Imports.Left()) + more) / s.Imports.Rate
	if heldBack(s) {
		return span(imported), roughly
	}
	return span(max(imported, s.Run.Remaining)), sure
}

// toCome is how many messages the run will still send: as many a second as of late while that time is known and the run's own, as many
// as OpenCTI takes where the run itself reckons with that, else as many for each item as before.
func toCome(s snapshot.Snapshot) (messages float64, sure certainty) {
	var sent snapshot.Stage
	for _, stage := range s.Stages {
		if stage.Unit == "messages" {
			sent = stage
		}
	}
	switch {
	case s.Run.Remaining > 0 && !heldBack(s):
		return sent.Rate * s.Run.Remaining, about
	case s.Run.Remaining > 0 && s.Imports.Rate > 0 && strings.HasPrefix(s.Run.WaitsFor, snapshot.OpenCTI):
		return s.Imports.Rate * s.Run.Remaining, roughly
	}
	read, left := 0., 0.
	for _, d := range s.Run.Datasets {
		read += float64(d.Items)
		switch {
		case d.Done:
		case d.Left > 0:
			left += float64(d.Left)
		case d.Share > 0.01:
			left += float64(d.Items) * (1 - d.Share) / d.Share
		default:
			return 0, notBefore
		}
	}
	if len(s.Run.Datasets) > 0 && read == 0 {
		return 0, notBefore
	}
	return left * float64(sent.Passed) / max(read, 1), roughly
}
