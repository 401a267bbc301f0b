package state

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// life lets a connector live at random, and keeps some of what was exported meanwhile.
type life struct {
	*rig
	rand    *rand.Rand
	exports []string
	works   int
	at      time.Time // what was delivered last
}

func (l *life) run() {
	run := l.begin()
	if l.rand.IntN(4) > 0 {
		l.works++
		l.mustOpen(run, "work_"+strconv.Itoa(l.works))
	}
	for range l.rand.IntN(4) {
		name := datasets[l.rand.IntN(len(datasets))]
		c := run.keeper.cursorNow(name)
		l.at = l.at.Add(time.Hour)
		switch l.rand.IntN(3) {
		case 0:
			after := strconv.Itoa(l.rand.IntN(1000))
			c.Pass = &pipeline.Pass{Started: l.at, After: after}
			if l.rand.IntN(2) == 0 {
				c.Pass.KeptFrom = new(string)
			}
		case 1:
			c = pipeline.Cursor{Since: l.at, Failed: c.Failed, Gone: c.Gone}
		default:
			c.Failed = append(c.Failed, strconv.Itoa(l.rand.IntN(1000)))
		}
		l.mustCommit(run, name, c)
	}
	l.backfill(run)
	switch works := l.workIDs(); {
	case len(works) > 1 && l.rand.IntN(3) == 0:
		l.Imported(works[0])
	case len(works) > 1 && l.rand.IntN(6) == 0:
		if err := l.Void(l.t.Context(), works[len(works)-1]); err != nil {
			l.t.Fatal(err)
		}
	}
	l.beatOnce()
	if l.rand.IntN(2) == 0 {
		l.exports = append(l.exports, l.platform.State())
	}
}

// backfill goes on with a backfill, or orders one, or cancels it.
func (l *life) backfill(run *RunCheckpoint) {
	under := l.Backfill()
	if len(under.Datasets) == 0 {
		if l.rand.IntN(3) == 0 {
			if _, err := l.OrderBackfill(l.t.Context(), importStart.AddDate(-1-l.rand.IntN(5), 0, 0), time.Time{}, datasets); err != nil && !errors.Is(err, ErrNothingToBackfill) {
				l.t.Fatal(err)
			}
		}
		return
	}
	if l.rand.IntN(8) == 0 {
		if _, err := l.CancelBackfill(l.t.Context()); err != nil {
			l.t.Fatal(err)
		}
		return
	}
	name := InBackfill(under.Datasets[l.rand.IntN(len(under.Datasets))])
	c := run.Cursor(name)
	if c.Until.IsZero() {
		return // it was ordered during the run
	}
	switch l.rand.IntN(3) {
	case 0:
		l.at = l.at.Add(time.Hour)
		c.Pass = &pipeline.Pass{Started: l.at, After: l.at.Format(time.RFC3339)} // later ones are further
	case 1:
		c = pipeline.Cursor{Since: c.Until, Until: c.Until, Failed: c.Failed}
	default:
		c.Failed = append(slices.Clone(c.Failed), strconv.Itoa(l.rand.IntN(1000)))
	}
	l.mustCommit(run, name, c)
}

// cursorNow is where a dataset is.
func (k *Keeper) cursorNow(dataset string) pipeline.Cursor {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c, found := k.doc.datasets[dataset]; found {
		return c
	}
	return pipeline.Cursor{Since: k.doc.importFrom}
}

func TestWhateverIsEditedIsTakenOverAndNothingLeadsPastIt(t *testing.T) {
	for seed := range uint64(25) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			l := &life{rig: newRig(t, openctitest.Config{NoStateTimestamp: random.IntN(3) == 0}), rand: random, at: passStart}
			for range 2 + random.IntN(5) {
				l.run()
			}
			time.Sleep(10 * time.Minute)
			var change Change
			edits := ""
			limit := map[string]time.Time{} // where the last edits have put a dataset
			before, _ := Describe(l.platform.State())
			backfill := before.Backfill // where they leave a backfill
			for range 1 + random.IntN(3) {
				var err error
				if random.IntN(2) == 0 || len(l.exports) == 0 {
					name, since := datasets[random.IntN(2)], passStart.Add(time.Duration(random.IntN(200)-100)*time.Hour)
					edits += fmt.Sprintf(" %s to %s", name, since)
					change, err = SetSince(l.held(), name, since, datasets)
					limit[name] = since
				} else {
					export := l.exports[random.IntN(len(l.exports))]
					edits += " import of " + export
					change, err = Import(l.held(), export, datasets)
					clear(limit)
					file, _ := parse(export)
					backfill = file.describe().Backfill
					for name, c := range file.datasets {
						limit[name] = c.Since
					}
				}
				if change.Text == "" && err == nil {
					continue
				}
				if before, _ := Describe(l.platform.State()); change.After.Commits <= before.Commits || change.Foreign {
					t.Errorf("seed %d: commit %d follows %d, foreign %t", seed, change.After.Commits, before.Commits, change.Foreign)
				}
				l.put(change, err)
			}
			if s, _ := Describe(l.platform.State()); s.Edited.IsZero() {
				return // all of them changed nothing
			}
			change.After.Commits, _ = l.commitsHeld()
			again := l.expectAdopted(change)
			within := func(when string) {
				run := again.begin()
				for name, since := range limit {
					if c := run.Cursor(name); c.Since.After(since) {
						t.Errorf("seed %d: %s %s begins at %s, past %s, after%s", seed, when, name, c.Since, since, edits)
					}
				}
				for _, p := range backfill {
					if c := run.Cursor(InBackfill(p.Name)); c.Since.After(p.Since) || c.Until.Before(p.Until) || c.Pass != nil && (p.Pass == nil || c.Pass.After > p.Pass.After) {
						t.Errorf("seed %d: %s the backfill of %s is at %+v, past %+v, after%s", seed, when, p.Name, c, p, edits)
					}
				}
			}
			within("at once")
			if under := again.Backfill(); len(under.Datasets) != len(backfill) {
				t.Errorf("seed %d: of the backfill %s is left, instead of %+v, after%s", seed, under, backfill, edits)
			}
			works := again.workIDs()
			slices.Reverse(works) // one that is lost lets the later ones lead no further either
			for _, work := range works {
				if err := again.Void(t.Context(), work); err != nil {
					t.Fatal(err)
				}
				within("with " + work + " lost")
			}
			if t.Failed() {
				t.Logf("seed %d: after%s it holds %s", seed, edits, again.platform.State())
			}
		})
		if t.Failed() {
			return
		}
	}
}

func (r *rig) commitsHeld() (uint64, error) {
	s, err := Describe(r.platform.State())
	return s.Commits, err
}
