package page

import (
	"slices"
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
)

// firstAnswer is how long something may take to answer for the first time.
const firstAnswer = time.Minute

// hands collects what needs one. What several parts of the snapshot tell of one station is one thing.
type hands struct {
	notes []string
	of    map[string]bool // the stations that something was said of
}

func (h *hands) say(station, text string) {
	h.of[station] = true
	h.notes = append(h.notes, sentence(text))
}

// needsAHand tells what does not pass by itself.
func needsAHand(s snapshot.Snapshot) answer {
	h := hands{of: map[string]bool{}}
	if !s.Live.OK {
		h.say(snapshot.Connector, "Start the connector anew: "+s.Live.Reason)
	}
	if !stopping(s) && s.Activity != "stopped" { // what is about to go waits for nobody
		h.stations(s)
	}
	if stalled(s) {
		h.say(snapshot.OpenCTI, "OpenCTI imports nothing of what it was sent: see whether its workers run")
	}
	if failed := failures(s.Imports); failed > 0 {
		h.say(snapshot.OpenCTI, "OpenCTI could not import "+words.Counted(failed, "message")+": see OpenCTI's imports")
	}
	h.runs(s)
	h.log(s)
	a := answer{Question: "What needs a hand", Hands: true, Says: "Nothing", Notes: h.notes}
	if n := len(a.Notes); n > 0 {
		a.Says = words.Counted(n, "thing")
	}
	return a
}

// stations tells of those that are in trouble: why the connector is not ready, for that says what to do, and else what the way shows.
func (h *hands) stations(s snapshot.Snapshot) {
	early := s.Activity == "starting" && s.At.Sub(s.Started) < firstAnswer
	for _, r := range reasons(s.Ready) {
		if !early && s.Activity != "starting" || r.refuses() {
			h.say(r.station, r.says)
		}
	}
	for _, at := range s.Way {
		switch {
		case !at.Trouble || h.of[at.Name] || early:
		case s.Activity == "starting" && at.Name == snapshot.OpenCTI:
			h.say(at.Name, "OpenCTI "+at.Says+": see whether it runs, and OPENCTI_URL")
		case at.Name == snapshot.OpenCTI && s.Imports.Unknown != "":
			h.say(at.Name, "OpenCTI "+at.Says+": "+s.Imports.Unknown)
		case strings.HasPrefix(at.Says, system(at.Name)):
			h.say(at.Name, at.Says)
		default:
			h.say(at.Name, system(at.Name)+": "+at.Says)
		}
	}
}

// runs tells of what failed in the run under way, or of the last one. That nothing can be fetched while ThreatMatch is in trouble, or
// that a run fails while anything is, is no other thing.
func (h *hands) runs(s snapshot.Snapshot) {
	if s.Run == nil {
		if len(s.History) > 0 && wentWrong(s.History[0]) && !h.troubled(s) {
			text := "The last run " + became(s.History[0])
			if !strings.Contains(text, ":") {
				text += ": see the last problems"
			}
			h.say("", text)
		}
		return
	}
	if h.of[snapshot.ThreatMatch] {
		return
	}
	var failures []string
	names := map[string][]string{}
	for _, d := range s.Run.Datasets {
		if d.Failure == "" {
			continue
		}
		if names[d.Failure] == nil {
			failures = append(failures, d.Failure)
		}
		names[d.Failure] = append(names[d.Failure], d.Name)
	}
	for _, why := range failures {
		h.say("", strings.Join(names[why], ", ")+" failed: "+why)
	}
}

// troubled reports that something was said of a station that explains why a run fails.
func (h *hands) troubled(s snapshot.Snapshot) bool {
	return slices.ContainsFunc(s.Way, func(at snapshot.Station) bool { return at.Trouble && h.of[at.Name] }) || len(reasons(s.Ready)) > 0
}

// log counts the errors in the log, since the run under way began or the last one where there is none, that nothing else told of.
func (h *hands) log(s snapshot.Snapshot) {
	last, since := "program", time.Time{}
	switch {
	case s.Run != nil:
		last, since = "run", s.Run.Began
	case len(s.History) > 0:
		last, since = "last run", s.History[0].Began
	}
	var n int
	for _, p := range s.Problems {
		if p.Error && !p.Over && !p.At.Before(since) && !h.told(s, p) {
			n++
		}
	}
	if n > 0 {
		h.say("", words.Counted(int64(n), "error")+" in the log since the "+last+" began: see the last problems")
	}
}

// told reports that what a line of the log tells was said by another part of the snapshot.
func (h *hands) told(s snapshot.Snapshot, p snapshot.Problem) bool {
	if at := stationOf(p.Says); at != "" {
		return h.of[at]
	}
	ofRun := strings.HasPrefix(p.Says, "the run failed") || strings.HasPrefix(p.Says, "the backfill cannot go on")
	if s.Run == nil && ofRun {
		return h.troubled(s) || len(s.History) > 0 && wentWrong(s.History[0])
	}
	if s.Run == nil {
		return false
	}
	return ofRun && h.troubled(s) || p.Dataset != "" && slices.ContainsFunc(s.Run.Datasets, func(d snapshot.Dataset) bool { return d.Name == p.Dataset && d.Failure != "" })
}

// reason is one of those for which the connector is not ready.
type reason struct {
	station string
	says    string
}

// refuses reports that a system does not take the credentials: nothing goes on before they are changed.
func (r reason) refuses() bool { return strings.HasPrefix(r.says, system(r.station)+" refuses ") }

// reasons takes apart what is told as one text: each begins with the system that it is about, and the others may be in it, too.
func reasons(ready snapshot.Verdict) (all []reason) {
	if ready.OK || ready.Reason == "" {
		return nil
	}
	for part := range strings.SplitSeq(ready.Reason, "; ") {
		at := subject(part)
		if at == "" && len(all) > 0 {
			all[len(all)-1].says += "; " + part
			continue
		}
		if at == "" {
			at = snapshot.OpenCTI // which does not know the connector
		}
		all = append(all, reason{at, part})
	}
	return all
}

// refusal is what to change where the station refuses the credentials.
func refusal(s snapshot.Snapshot, station string) (says string, refused bool) {
	for _, r := range reasons(s.Ready) {
		if r.station == station && r.refuses() {
			return r.says, true
		}
	}
	return "", false
}

// subject is the station that a text begins with.
func subject(text string) string {
	for _, name := range []string{snapshot.ThreatMatch, snapshot.QueueName, snapshot.OpenCTI} {
		if strings.HasPrefix(text, system(name)+" ") {
			return name
		}
	}
	if strings.HasPrefix(text, "the broker ") {
		return snapshot.QueueName
	}
	return ""
}

// stationOf is the one that a line of the log is about: its subject, or whose settings it asks to check.
func stationOf(says string) string {
	if at := subject(says); at != "" {
		return at
	}
	for _, setting := range []struct{ prefix, station string }{
		{"THREATMATCH_", snapshot.ThreatMatch}, {"MQ_", snapshot.QueueName}, {"OPENCTI_", snapshot.OpenCTI},
	} {
		if strings.Contains(says, " "+setting.prefix) {
			return setting.station
		}
	}
	return ""
}
