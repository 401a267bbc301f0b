// Package progress shows how a run gets on: a line for each dataset on a terminal, else a line of counts now and then.
package progress

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// Tally counts what a run reports and shows nothing. It may be used by many goroutines at once.
type Tally struct {
	out string // the name of what goes out

	mu     sync.Mutex
	counts map[string]int
	goals  map[string]goal
	ended  map[string]error
}

// goal is how many there will be of a dataset, and since when they are counted.
type goal struct {
	total int
	since time.Time
}

// NewTally returns a tally; out names what goes out ("messages"), which is counted behind all datasets.
func NewTally(out string) *Tally {
	return &Tally{out: out, counts: map[string]int{}, goals: map[string]goal{}, ended: map[string]error{}}
}

// Begin says that a run begins. What it waits for is not shown here.
func (t *Tally) Begin(func() string) {}

// End says that the run has ended.
func (t *Tally) End() {}

// reset forgets all that was counted.
func (t *Tally) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.counts)
	clear(t.goals)
	clear(t.ended)
}

// Total says how many items a dataset will have, so that the time that is left can be told.
func (t *Tally) Total(dataset string, items int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	since := t.goals[dataset].since
	if since.IsZero() {
		since = time.Now()
	}
	t.goals[dataset] = goal{items, since}
	t.counts[dataset] += 0
}

// Page counts a page's items.
func (t *Tally) Page(dataset string, items int, at pipeline.Position) {
	if total := t.Count(dataset) + items + at.Left; at.Left >= 0 && at.Until.IsZero() && total > t.goal(dataset) {
		t.Total(dataset, total)
	}
	t.add(dataset, items)
}

func (t *Tally) goal(dataset string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.goals[dataset].total
}

// Sent counts what goes out.
func (t *Tally) Sent(n int) { t.add(t.out, n) }

// Done notes the end of a dataset.
func (t *Tally) Done(dataset string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended[dataset] = err
	t.counts[dataset] += 0 // a dataset without a page shows too
}

func (t *Tally) add(line string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[line] += n
}

// Count is how many items of a dataset were counted.
func (t *Tally) Count(dataset string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts[dataset]
}

// String is one line with all counts, the datasets in alphabetical order.
func (t *Tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var parts []string
	for dataset, n := range t.counts {
		if dataset != t.out {
			parts = append(parts, t.part(dataset, n))
		}
	}
	slices.Sort(parts)
	return strings.Join(append(parts, t.out+" "+words.Grouped(t.counts[t.out])), ", ")
}

// part tells of one dataset; mu is held.
func (t *Tally) part(dataset string, n int) string {
	text := dataset + " " + words.Grouped(n)
	goal, known := t.goals[dataset]
	if known {
		text += " of " + words.Grouped(goal.total)
	}
	err, ended := t.ended[dataset]
	switch {
	case ended && err != nil:
		return text + " (failed)"
	case ended:
		return text + " (done)"
	case known && n > 0 && n < goal.total:
		each := time.Since(goal.since) / time.Duration(n)
		left := each * time.Duration(goal.total-n)
		return text + fmt.Sprintf(" (%.1f/s, %s left)", 1/max(each.Seconds(), 1e-6), left.Round(time.Second))
	}
	return text
}
