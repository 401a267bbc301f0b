package sandbox

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/connector"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/progress"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	connectorstate "github.com/opencti-connectors/threatmatch/state"
)

// account is what a run in the sandbox amounted to.
type account struct {
	lines [][2]string // title, text
	wrong []string    // why it does not add up
}

// takeAccount compares what ThreatMatch held, what the queue got and what OpenCTI was told.
func takeAccount(cfg config.Config, t *twins, held map[string]int, counted *progress.Tally, took time.Duration, runErr error) *account {
	a := &account{}
	if runErr != nil {
		a.fault("the run failed: %v", runErr)
	}
	a.cameIn(cfg, t, held, counted)
	a.wentOut(t.arrived)
	a.works(t.platform.Works(), t.arrived)
	a.line("How fast", "%s objects in %s: %s objects/s", words.Grouped(t.arrived.total), took.Round(10*time.Millisecond),
		words.Grouped(int(float64(t.arrived.total)/max(took.Seconds(), 0.001))))
	a.state(t.platform.State())
	return a
}

func (a *account) line(title, format string, args ...any) {
	a.lines = append(a.lines, [2]string{title, fmt.Sprintf(format, args...)})
}

func (a *account) fault(format string, args ...any) {
	a.wrong = append(a.wrong, fmt.Sprintf(format, args...))
}

func (a *account) cameIn(cfg config.Config, t *twins, held map[string]int, counted *progress.Tally) {
	var parts []string
	for _, name := range connector.Datasets(cfg) {
		got := counted.Count(name)
		parts = append(parts, fmt.Sprintf("%s of %s %s", words.Grouped(got), words.Grouped(held[name]), name))
		if got < held[name] {
			a.fault("%s of the %s were not fetched", words.Grouped(held[name]-got), name)
		}
	}
	calls, refused := t.api.Calls(), 0
	for _, call := range calls {
		if call.Status != http.StatusOK {
			refused++
		}
	}
	text := fmt.Sprintf("%s in %s requests", strings.Join(parts, ", "), words.Grouped(len(calls)))
	if refused > 0 {
		text += fmt.Sprintf(", %s of them refused", words.Grouped(refused))
	}
	a.line("What came in", "%s", text)
}

func (a *account) wentOut(arrived *arrivals) {
	types := slices.SortedFunc(maps.Keys(arrived.byType), func(x, y string) int {
		return cmp.Or(cmp.Compare(arrived.byType[y], arrived.byType[x]), cmp.Compare(x, y))
	})
	for i, name := range types {
		types[i] = words.Grouped(arrived.byType[name]) + " " + name
	}
	a.line("What went out", "%s messages: %s", words.Grouped(arrived.total), strings.Join(types, ", "))
	a.line("In order", "%s came before what they refer to, %s more than once", words.Grouped(arrived.earlyCount), words.Grouped(arrived.repeated))
	if arrived.earlyCount > 0 {
		a.fault("objects came before what they refer to: %s", strings.Join(arrived.early, "; "))
	}
	if arrived.unreadable > 0 {
		a.fault("%s messages are no bundle of one object", words.Grouped(arrived.unreadable))
	}
	if arrived.total == 0 {
		a.fault("nothing reached the queue")
	}
}

func (a *account) works(works []openctitest.Work, arrived *arrivals) {
	if len(works) != 1 {
		a.fault("%d works were opened", len(works))
	}
	for _, w := range works {
		end := "still open"
		switch {
		case w.Closed > 0 && w.InError:
			end = "closed as failed"
		case w.Closed > 0:
			end = "closed as done"
		}
		a.line("Work", "%s: %s expected, %s (%s)", w.Name, words.Grouped(w.Expected), end, w.Message)
		if w.Closed != 1 || w.InError {
			a.fault("the work is %s, %d times", end, w.Closed)
		}
		if got, want := arrived.byWork[w.ID], w.Expected-w.LeftOut(); got != want {
			a.fault("the work expects %s messages and got %s", words.Grouped(want), words.Grouped(got))
		}
	}
}

func (a *account) state(state string) {
	held, err := connectorstate.Describe(state)
	if err != nil {
		a.line("State", "%q", state)
		a.fault("the state cannot be read: %v", err)
		return
	}
	if held.LastRun.IsZero() {
		a.line("State", "nothing is imported as a whole")
		a.fault("the state tells of no run that was complete")
		return
	}
	a.line("State", "imported since %s, all up to %s; the next run goes on from there",
		held.Beginning.UTC().Format(time.DateOnly), held.LastRun.UTC().Format("2006-01-02 15:04:05"))
}

// print writes the account, one line for each part.
func (a *account) print(out io.Writer) {
	var b strings.Builder
	b.WriteByte('\n')
	for _, l := range a.lines {
		for i, text := range wrapped(l[1], columns-titleWidth) {
			title := l[0]
			if i > 0 {
				title = ""
			}
			fmt.Fprintf(&b, "%-*s%s\n", titleWidth, title, text)
		}
	}
	if len(a.wrong) == 0 {
		b.WriteString("\nThe account adds up.\n")
	} else {
		b.WriteString("\nThe account does not add up:\n")
		for _, w := range a.wrong {
			fmt.Fprintf(&b, "  - %s\n", w)
		}
	}
	_, _ = io.WriteString(out, b.String()) // nobody is left to tell when the terminal has gone
}

// The account fits a terminal of the usual width.
const (
	columns    = 80
	titleWidth = 15
)

// wrapped cuts a text between words so that no line is wider than it may be, but for a word that is.
func wrapped(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
