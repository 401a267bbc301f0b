package page

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
)

// answer is one of the four that people come for.
type answer struct {
	Question string
	Says     string
	When     moment // beside what it says
	Notes    []string
	Hands    bool // the notes are what somebody has to do
}

// What a run that stops is at.
const settling = "The run settles what is under way and then stops."

func stopping(s snapshot.Snapshot) bool { return s.Activity == "stopping" }

func limits(s snapshot.Snapshot) answer {
	a := answer{Question: "What limits it"}
	slowest, slow := find(s.Way, func(at snapshot.Station) bool { return at.Slowest })
	trouble, troubled := inTrouble(s.Way)
	switch {
	case stopping(s):
		a.Says, a.Notes = "It stops", []string{settling}
		return a
	case troubled && (s.Run != nil && !onlySilent(s, trouble) || !slow):
		a.Says, a.Notes = system(trouble.Name), []string{tells(s, trouble)}
	case stalled(s):
		a.Says, a.Notes = snapshot.OpenCTI, []string{"Its workers stand still: they import nothing of what was sent."}
	case slow:
		a.Says, a.Notes = system(slowest.Name), []string{tells(s, slowest)}
	case s.Run != nil:
		a.Says = "Not known yet"
	case s.Activity == "starting":
		a.Says, a.Notes = "Not known yet", []string{"The connector is starting."}
	default:
		a.Says, a.Notes = "Nothing", []string{"No run is under way."}
	}
	if s.Run != nil && s.Run.WaitsFor != "" {
		if waits := sentence("The run waits for " + s.Run.WaitsFor); !slices.Contains(a.Notes, waits) {
			a.Notes = append(a.Notes, waits)
		}
	}
	return a
}

// onlySilent reports that what is in trouble is an OpenCTI that does not say what it has imported: that holds nothing up.
func onlySilent(s snapshot.Snapshot, at snapshot.Station) bool {
	_, refused := refusal(s, at.Name)
	return at.Name == snapshot.OpenCTI && s.Imports.Unknown != "" && !refused
}

func find(way []snapshot.Station, is func(snapshot.Station) bool) (snapshot.Station, bool) {
	for _, at := range way {
		if is(at) {
			return at, true
		}
	}
	return snapshot.Station{}, false
}

func inTrouble(way []snapshot.Station) (snapshot.Station, bool) {
	return find(way, func(at snapshot.Station) bool { return at.Trouble })
}

func howFar(s snapshot.Snapshot) answer {
	a := answer{Question: "How far it is"}
	if s.Run != nil {
		a.Says, a.Notes = read(*s.Run)
		if text := throughWith(s); text != "" {
			a.Notes = append(a.Notes, text)
		}
		if stopping(s) {
			a.Notes = append(a.Notes, "The next run goes on from where this one got.")
		}
		return a
	}
	i := s.Imports
	failed := failures(i)
	switch {
	case notAsked(i):
		a.Says, a.Notes = "Not known", []string{throughWith(s)}
	case s.Activity == "starting":
		a.Says, a.Notes = "Not known yet", []string{"The connector is starting."}
	case i.Unknown != "":
		a.Says, a.Notes = "Not known", []string{"OpenCTI cannot be asked what it has imported."}
		if text := throughWith(s); text != "" {
			a.Notes = append(a.Notes, text)
		}
	case i.Left() > 0:
		a.Says, a.Notes = percent(doneOf(i))+" imported", []string{"All is sent. " + throughWith(s)}
	case len(s.History) > 0 && s.History[0].Failed:
		a.Says, a.Notes = "Not complete", []string{"The last run " + became(s.History[0]) + "; the next does what is left."}
	case failed > 0:
		a.Says, a.Notes = "Through, "+words.Grouped(failed)+" of them failed", []string{"OpenCTI is through with what it was sent."}
	case len(s.History) == 0 && i.Expected == 0:
		a.Says, a.Notes = "Nothing to import", []string{"No run has ended yet."}
	default:
		a.Says, a.Notes = "All is imported", []string{"OpenCTI is through with what it was sent."}
	}
	return a
}

// read tells how far a run is with reading and sending.
func read(r snapshot.Run) (says string, notes []string) {
	says = "Begun"
	if d, reading := behind(r); reading {
		says = percent(d.Share) + " of " + d.Name + " read"
		if all := len(r.Datasets); all > 1 {
			notes = append(notes, fmt.Sprintf("%d of %d datasets read.", datasetsRead(r), all))
		}
	} else if len(r.Datasets) > 0 {
		says = "All is read"
	}
	return says, append(notes, words.Counted(r.Sent, "object")+" sent.")
}

// datasetsRead tells how many of the run's datasets are done.
func datasetsRead(r snapshot.Run) (done int) {
	for _, d := range r.Datasets {
		if d.Done {
			done++
		}
	}
	return done
}

// behind is the dataset of which least is read.
func behind(r snapshot.Run) (last snapshot.Dataset, found bool) {
	for _, d := range r.Datasets {
		if !d.Done && (!found || d.Share < last.Share) {
			last, found = d, true
		}
	}
	return last, found
}

// interrupted is how a run ended that had to: nothing has gone wrong.
const interrupted = "told to stop"

// wentWrong tells whether a run that has ended failed, and not only because it was told to stop.
func wentWrong(r snapshot.Run) bool { return r.Failed && r.Outcome != interrupted }

// became says within a sentence how a run ended that did not do all.
func became(r snapshot.Run) string {
	switch {
	case r.Outcome == interrupted, strings.HasPrefix(r.Outcome, "incomplete"):
		return "was " + r.Outcome
	case r.Outcome != "":
		return "failed: " + r.Outcome
	}
	return "failed"
}
