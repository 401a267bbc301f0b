package page

import (
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
)

func ends(s snapshot.Snapshot) answer {
	a := answer{Question: "When it ends"}
	end, sure := remaining(s)
	trouble, troubled := inTrouble(s.Way)
	switch {
	case troubled && s.Run != nil:
		a.Says, a.Notes = "Not known", []string{"It goes on by itself when " + inSentence(trouble.Name) + " is well again."}
	case end > 0:
		a.Says, a.When = string(sure), newMoment(s.At.Add(end), s.At)
		if s.Run != nil {
			a.Notes = append(a.Notes, reading(*s.Run, sure))
		}
		if stalled(s) {
			a.Notes = append(a.Notes, "OpenCTI imports nothing at the moment.")
		} else if s.Imports.Rate > 0 {
			a.Notes = append(a.Notes, "OpenCTI imports "+rate(s.Imports.Rate, "messages")+".")
		} else {
			a.Notes = append(a.Notes, "How fast OpenCTI imports is not known yet.")
		}
	case stalled(s):
		a.Says, a.Notes = "Not known", []string{"OpenCTI imports nothing at the moment."}
	case s.Run != nil || s.Imports.Left() > 0:
		a.Says, a.Notes = "Not known", []string{"The pace shows after some pages and messages."}
	case !s.NextRun.IsZero():
		a.Says, a.Notes = "Nothing is under way", []string{"The next run begins " + newMoment(s.NextRun, s.At).Relative() + "."}
	case s.Activity == "starting":
		a.Says, a.Notes = "Not known yet", []string{"The first run begins when OpenCTI knows the connector."}
	default:
		a.Says, a.Notes = "Nothing is under way", []string{"No run is due."}
	}
	return a
}

func reading(r snapshot.Run, sure certainty) string {
	switch {
	case r.Remaining > 0:
		return "Reading and sending: about " + seconds(r.Remaining) + "."
	case sure == roughly:
		return "If what is still to be read is like what was read."
	}
	return "How much there is still to be read is not known yet."
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
	if sure == notBefore || s.Imports.Rate <= 0 || stalled(s) {
		return span(max(s.Imports.Remaining, s.Run.Remaining)), notBefore
	}
	return span(max((float64(s.Imports.Left())+more)/s.Imports.Rate, s.Run.Remaining)), sure
}

// toCome is how many messages the run will still send: as many a second as of late while that time is known, else as many for
// each item as before.
func toCome(s snapshot.Snapshot) (messages float64, sure certainty) {
	var sent snapshot.Stage
	for _, stage := range s.Stages {
		if stage.Unit == "messages" {
			sent = stage
		}
	}
	if s.Run.Remaining > 0 {
		return sent.Rate * s.Run.Remaining, about
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
