package page

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
)

// view is what is drawn: a snapshot, and what follows from it.
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
	Key   string
	When  moment // it began
	Wrong bool   // it failed, and not only because it was told to stop
}

// atOnce is how many problems and runs are shown at once.
const atOnce = 10

func newView(s snapshot.Snapshot, build string) view {
	if stopping(s) || s.Activity == "stopped" {
		s.NextRun = time.Time{} // it is none of this program's any more
	}
	hands := needsAHand(s)
	v := view{Snapshot: s, Build: build, Alarm: len(hands.Notes) > 0, Answers: []answer{limits(s), howFar(s), ends(s), hands}}
	met := keys{}
	for _, p := range slices.Backward(s.Problems) { // newest first: those of one moment keep their number
		v.Problems = append(v.Problems, problem{p, met.next(p.At), newMoment(p.At, s.At)})
	}
	for _, r := range slices.Backward(s.History) {
		v.Runs = append(v.Runs, run{r, met.next(r.Ended), newMoment(r.Began, s.At), wentWrong(r)})
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
	text := map[string]string{
		"starting": "Starting", "idle": "At rest", "running": "A run is under way", "stopping": "Stopping", "stopped": "Stopped",
	}[v.Activity]
	if v.Run == nil && v.Imports.Left() > 0 {
		text += ", OpenCTI imports"
	}
	hands := v.Answers[len(v.Answers)-1]
	if !v.Alarm {
		return text + ". Nothing needs a hand."
	}
	return text + ". What needs a hand: " + strings.ToLower(hands.Says) + "."
}

// Headline is the connector's state in a sentence or two. How long it takes, and how much is imported, stands in the answers below it.
func (v view) Headline() string {
	why := ""
	if !v.Ready.OK && v.Activity != "starting" {
		why = sentence(v.Ready.Reason) + " "
	}
	switch {
	case stopping(v.Snapshot) && v.Run != nil:
		return "Stopping: the run settles what is under way, and then the connector stops."
	case v.Run != nil:
		text := map[string]string{"import": "Importing", "backfill": "A backfill is under way", "resend": "What OpenCTI could not import is sent again"}[v.Run.Purpose]
		text = cmp.Or(text, "A run is under way")
		if v.Run.WaitsFor != "" {
			text += "; it waits for " + v.Run.WaitsFor
		}
		return why + text + "."
	case v.Activity == "idle" && isDue(v.Snapshot):
		return why + "At rest. " + nextBegins(v.Snapshot)
	}
	return sentence(strings.TrimSuffix(v.Says, " OpenCTI has imported "+v.Imports.String()+"."))
}

// Due says of a next run that should have begun what it waits for, "" of another.
func (v view) Due() string {
	if isDue(v.Snapshot) {
		return due(v.Snapshot)
	}
	return ""
}

// NotAsked reports that OpenCTI was not asked yet what it has imported.
func (v view) NotAsked() bool { return notAsked(v.Imports) }

// NotImported counts the messages that OpenCTI could not import.
func (v view) NotImported() int64 { return failures(v.Imports) }

// Pass is the figure of a station.
func (v view) Pass(at snapshot.Station) string { return pass(v.Snapshot, at) }

// Tells is what a station is at.
func (v view) Tells(at snapshot.Station) string { return tells(v.Snapshot, at) }

// Pace is how fast OpenCTI imports.
func (v view) Pace() string {
	if paceToCome(v.Snapshot) || v.Imports.Rate <= 0 {
		return "not known yet"
	}
	return rate(v.Imports.Rate, "messages")
}

// Imported is when OpenCTI will be through with what was sent, as the answers have it; it is of no use during a run, which sends more.
func (v view) Imported() moment { return v.Answers[2].When }

// ToGo is how much longer a dataset is read, in words, "" where what is read so fast does not decide when it ends.
func (v view) ToGo(d snapshot.Dataset) string {
	switch {
	case d.Done || d.Failure != "" || d.Remaining <= 0 || heldBack(v.Snapshot) || stopping(v.Snapshot):
		return ""
	case !d.Until.IsZero():
		return "about " + seconds(d.Remaining) + " to go if the rest of the window holds as many"
	}
	return "about " + seconds(d.Remaining) + " to go"
}

// Outside is what holds the run up where that is OpenCTI: no stage is to blame then, however full the room before it is.
func (v view) Outside() string {
	if v.Run != nil && (v.Queue.Buffering || strings.HasPrefix(v.Run.WaitsFor, snapshot.OpenCTI)) {
		return cmp.Or(v.Run.WaitsFor, "OpenCTI's workers: the queue is full")
	}
	return ""
}

// Uptime is how long the program runs.
func (v view) Uptime() string { return lasting(v.At.Sub(v.Started)) }
