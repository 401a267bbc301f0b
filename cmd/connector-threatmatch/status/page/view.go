package page

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
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
	if v.Run == nil && v.Imports.Left() > 0 {
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
