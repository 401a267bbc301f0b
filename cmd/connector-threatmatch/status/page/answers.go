package page

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

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

// datasetsRead tells how many of the run's datasets are done.
func datasetsRead(r *snapshot.Run) (done int) {
	for _, d := range r.Datasets {
		if d.Done {
			done++
		}
	}
	return done
}

func limits(s snapshot.Snapshot) answer {
	a := answer{Question: "What limits it"}
	slowest, slow := find(s.Way, func(at snapshot.Station) bool { return at.Slowest })
	trouble, troubled := inTrouble(s.Way)
	switch {
	case troubled && (s.Run != nil || !slow):
		a.Says, a.Notes = station(trouble.Name), []string{sentence(trouble.Says)}
	case slow:
		a.Says, a.Notes = station(slowest.Name), []string{sentence(slowest.Says)}
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

// stalled reports that OpenCTI has been sent something a while ago and imports nothing.
func stalled(s snapshot.Snapshot) bool {
	const while = 3 * time.Minute
	return s.Imports.Left() > 0 && s.Imports.Lately <= 0 && s.Imports.Unknown == "" &&
		s.At.Sub(s.Started) > while && (s.Run == nil || s.At.Sub(s.Run.Began) > while)
}

func howFar(s snapshot.Snapshot) answer {
	a := answer{Question: "How far it is"}
	i := s.Imports
	share := float64(i.Done) / float64(max(i.Expected, 1))
	imported := fmt.Sprintf("OpenCTI is through with %s of that: %s of %s.", percent(share), words.Grouped(i.Done), words.Counted(i.Expected, "message"))
	switch {
	case s.Run != nil:
		a.Says = "Begun"
		if d, reading := behind(s.Run); reading {
			a.Says = percent(d.Share) + " of " + d.Name + " read"
			if all := len(s.Run.Datasets); all > 1 {
				a.Notes = append(a.Notes, fmt.Sprintf("%d of %d datasets read.", datasetsRead(s.Run), all))
			}
		} else if len(s.Run.Datasets) > 0 {
			a.Says = "All is read"
		}
		a.Notes = append(a.Notes, words.Counted(s.Run.Sent, "object")+" sent.")
		if i.Expected > 0 {
			a.Notes = append(a.Notes, imported)
		}
	case i.Left() > 0:
		a.Says, a.Notes = percent(share)+" imported", []string{"All is sent. " + imported}
	case i.Unknown != "" || i.AsOf.IsZero():
		a.Says, a.Notes = "Not known", []string{"What OpenCTI has imported could not be asked yet."}
	case len(s.History) > 0 && s.History[0].Failed:
		a.Says, a.Notes = "Not complete", []string{"The last run failed; the next does what is left."}
	default:
		a.Says, a.Notes = "All is imported", []string{"OpenCTI is through with what it was sent."}
	}
	return a
}

// behind is the dataset of which least is read.
func behind(r *snapshot.Run) (last snapshot.Dataset, found bool) {
	for _, d := range r.Datasets {
		if !d.Done && (!found || d.Share < last.Share) {
			last, found = d, true
		}
	}
	return last, found
}

// needsAHand tells what does not pass by itself.
func needsAHand(s snapshot.Snapshot) answer {
	a := answer{Question: "What needs a hand", Hands: true}
	say := func(text string) { a.Notes = append(a.Notes, sentence(text)) }
	if !s.Live.OK {
		say("Start the connector anew: " + s.Live.Reason)
	}
	unready := ""
	if !s.Ready.OK && s.Activity != "starting" && s.Activity != "stopped" {
		unready = s.Ready.Reason
		say("The connector is not ready: " + unready)
	}
	const patience = time.Minute // until something answers for the first time
	for _, at := range s.Way {
		if s.Activity == "starting" && s.At.Sub(s.Started) < patience {
			break
		}
		if at.Trouble && !strings.Contains(unready, at.Name) {
			say(station(at.Name) + ": " + at.Says)
		}
	}
	if stalled(s) {
		say("OpenCTI imports nothing of what it was sent: see whether its workers run")
	}
	if failed := failures(s.Imports); failed > 0 {
		say("OpenCTI could not import " + words.Counted(failed, "message") + ": see OpenCTI's imports")
	}
	if s.Run != nil {
		for _, d := range s.Run.Datasets {
			if d.Failure != "" {
				say(d.Name + " failed: " + d.Failure)
			}
		}
	} else if len(s.History) > 0 && s.History[0].Failed && unready == "" {
		say("The last run failed: " + cmp.Or(outcome(s.History[0]), "see the runs that have ended"))
	}
	last := "last run"
	if s.Run != nil {
		last = "run"
	} else if len(s.History) == 0 {
		last = "program"
	}
	if n := errorsOfLate(s); n > 0 {
		say(words.Counted(n, "error") + " in the log since the " + last + " began: see the last problems")
	}
	a.Says = "Nothing"
	if n := len(a.Notes); n > 0 {
		a.Says = words.Counted(n, "thing")
	}
	return a
}

func failures(i snapshot.Imports) (n int64) {
	for _, f := range i.Failed {
		n += f.Count
	}
	return n
}

// errorsOfLate are those since the run under way began, or the last one where there is none; before the first all.
func errorsOfLate(s snapshot.Snapshot) (n int) {
	var since time.Time
	switch {
	case s.Run != nil:
		since = s.Run.Began
	case len(s.History) > 0:
		since = s.History[0].Began
	}
	for _, p := range s.Problems {
		if p.Error && !p.At.Before(since) {
			n++
		}
	}
	return n
}
