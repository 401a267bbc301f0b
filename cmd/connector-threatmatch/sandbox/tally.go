package sandbox

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// sentLine is the line that counts what went out, below those of the datasets.
const sentLine = "messages"

// tally counts what a run reports and shows nothing.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
	ended  map[string]error
}

func newTally() *tally { return &tally{counts: map[string]int{}, ended: map[string]error{}} }

// Page counts a page's items.
func (t *tally) Page(dataset string, items int, _ pipeline.Position) { t.add(dataset, items) }

// Sent counts messages.
func (t *tally) Sent(n int) { t.add(sentLine, n) }

// Done notes the end of a dataset.
func (t *tally) Done(dataset string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended[dataset] = err
	t.counts[dataset] += 0 // a dataset without a page shows too
}

func (t *tally) add(line string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[line] += n
}

func (t *tally) count(line string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts[line]
}

// String is one line with all counts, the datasets in alphabetical order.
func (t *tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var parts []string
	for line, n := range t.counts {
		if line == sentLine {
			continue
		}
		part := line + " " + groupDigits(n)
		if err, ended := t.ended[line]; ended && err != nil {
			part += " (failed)"
		} else if ended {
			part += " (done)"
		}
		parts = append(parts, part)
	}
	slices.Sort(parts)
	return strings.Join(append(parts, sentLine+" "+groupDigits(t.counts[sentLine])), ", ")
}

// groupDigits writes a number with commas between its thousands.
func groupDigits(n int) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
