package page

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
)

// view is what the template draws: a snapshot, and what follows from it.
type view struct {
	snapshot.Snapshot
	Build   string
	Answers []answer
	Alarm   bool // something needs a hand
	// Problems and Runs are shown at once, the earlier ones on request.
	Problems, EarlierProblems []problem
	Runs, EarlierRuns         []run
}

// problem has a key that stays its own when newer ones come.
type problem struct {
	snapshot.Problem
	Key  string
	When moment
}

// run is one that has ended.
type run struct {
	snapshot.Run
	Key  string
	When moment // it began
}

// atOnce is how many problems and runs are shown at once.
const atOnce = 10

// answer is one of the four that people come for.
type answer struct {
	Question string
	Says     string
	When     moment // beside what it says
	Notes    []string
	Hands    bool // the notes are what somebody has to do
}

func newView(s snapshot.Snapshot, build string) view {
	hands := needsAHand(s)
	v := view{Snapshot: s, Build: build, Alarm: len(hands.Notes) > 0, Answers: []answer{limits(s), howFar(s), ends(s), hands}}
	met := keys{}
	for _, p := range slices.Backward(s.Problems) { // newest first: those of one moment keep their number
		v.Problems = append(v.Problems, problem{p, met.next(p.At), newMoment(p.At, s.At)})
	}
	for _, r := range slices.Backward(s.History) {
		v.Runs = append(v.Runs, run{r, met.next(r.Ended), newMoment(r.Began, s.At)})
	}
	slices.Reverse(v.Problems)
	slices.Reverse(v.Runs)
	v.Problems, v.EarlierProblems = split(v.Problems)
	v.Runs, v.EarlierRuns = split(v.Runs)
	return v
}

// keys counts what happened at one moment.
type keys map[int64]int

func (k keys) next(at time.Time) string {
	k[at.UnixNano()]++
	return fmt.Sprintf("%s-%d", strconv.FormatInt(at.UnixNano(), 36), k[at.UnixNano()])
}

func split[T any](all []T) (first, rest []T) {
	n := min(len(all), atOnce)
	return all[:n], all[n:]
}

// State is what is read out when it changes: less than what the page shows, of which much changes every second.
func (v view) State() string {
	text := map[string]string{"starting": "Starting", "idle": "At rest", "running": "A run is under way", "stopped": "Stopped"}[v.Activity]
	if len(v.Way) > 0 && v.Imports.Left() > 0 && v.Run == nil {
		text += ", OpenCTI imports"
	}
	hands := v.Answers[len(v.Answers)-1]
	if !v.Alarm {
		return text + ". Nothing needs a hand."
	}
	return text + ". What needs a hand: " + strings.ToLower(hands.Says) + "."
}

// Uptime is how long the program runs.
func (v view) Uptime() string { return lasting(v.At.Sub(v.Started)) }

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
		a.Notes = slices.DeleteFunc(a.Notes, func(note string) bool { return note == sentence(s.Run.WaitsFor) })
		a.Notes = append(a.Notes, sentence("The run waits for "+s.Run.WaitsFor))
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
	for _, at := range s.Way {
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
		say(words.Counted(int64(n), "error") + " in the log since the " + last + " began: see the last problems")
	}
	a.Says = "Nothing"
	if n := len(a.Notes); n > 0 {
		a.Says = words.Counted(int64(n), "thing")
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
