package orders

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
)

// shownEvery is the time between two lines where there is no terminal.
const shownEvery = 30 * time.Second

// Form is how a backfill is shown.
type Form int

// The forms: a picture that changes on a terminal, a line now and then, and the same as a JSON object.
const (
	Live Form = iota
	Lines
	JSON
)

// Watcher shows a backfill as it gets on.
type Watcher struct {
	out   io.Writer
	form  Form
	last  time.Time // when it was shown
	phase Phase     // as it was shown
	live  *picture  // nil in other forms
}

// NewWatcher shows on out until Close.
func NewWatcher(out io.Writer, form Form) *Watcher {
	w := &Watcher{out: out, form: form}
	if form == Live {
		w.live = newPicture(out)
	}
	return w
}

// Show shows, if it is time. To people it does not show that a backfill is no more, which is what they are told in the end. That out
// takes nothing any more is nothing to stop for.
func (w *Watcher) Show(p Progress) {
	if w.form != JSON && (p.Phase == None || p.Phase == Cancelled) {
		return
	}
	if w.live != nil {
		w.live.show(p)
		return
	}
	if time.Since(w.last) < shownEvery && p.Phase == w.phase {
		return
	}
	w.last, w.phase = time.Now(), p.Phase
	if w.form == JSON {
		_ = json.NewEncoder(w.out).Encode(p)
		return
	}
	_, _ = fmt.Fprintln(w.out, p)
}

// Write puts log lines where they do not get in the way of what is shown: on a terminal above the picture. It may be called beside
// Show.
func (w *Watcher) Write(lines []byte) (int, error) {
	if w.live != nil {
		return w.live.Write(lines)
	}
	return w.out.Write(lines)
}

// Close leaves the last picture standing.
func (w *Watcher) Close() {
	if w.live != nil {
		_ = w.live.Close() // nobody is left to tell when the terminal has gone
	}
}

// String is a line for people.
func (p Progress) String() string {
	parts := []string{p.head()}
	for _, d := range p.Datasets {
		parts = append(parts, d.Name+" "+d.String())
	}
	for _, rest := range []string{p.sum(), p.waits()} {
		if rest != "" {
			parts = append(parts, rest)
		}
	}
	return strings.Join(parts, ", ")
}

// head tells which backfill it is, and what it is at.
func (p Progress) head() string {
	switch p.Phase {
	case None:
		return "there is no backfill under way"
	case Cancelled:
		return fmt.Sprintf("the backfill from %s to %s is cancelled; what it has brought stays", moment(p.From), moment(p.To))
	}
	return fmt.Sprintf("backfill from %s to %s: %s", moment(p.From), moment(p.To), p.Phase)
}

// sum tells what all of it has come to, empty where that is nothing.
func (p Progress) sum() string {
	var parts []string
	switch sent := words.Grouped(p.Sent) + " sent"; p.Phase {
	case None, Cancelled:
		return ""
	case Stopped, Elsewhere: // who counts is not there
	case Running:
		parts = append(parts, fmt.Sprintf("%s (%s/s)", sent, words.Grouped(int64(p.Rate))), words.Grouped(p.Known)+" copies delivered before")
	default:
		parts = append(parts, sent, words.Grouped(p.Known)+" copies delivered before")
	}
	if p.LeftOut != "" {
		parts = append(parts, "left out: "+p.LeftOut)
	}
	if p.Phase == Done {
		parts = append(parts, "in "+seconds(p.Took))
	}
	if p.Remaining > 0 {
		parts = append(parts, "about "+seconds(p.Remaining)+" left")
	}
	return strings.Join(parts, ", ")
}

// waits tells what holds it up, empty where nothing does, and that not all of it was counted: the line above has no room for that on
// a narrow terminal.
func (p Progress) waits() string {
	var parts []string
	if p.Phase == Waiting && p.WaitsFor == "" {
		parts = append(parts, "about to begin")
	}
	if p.WaitsFor != "" && p.Phase != Done {
		parts = append(parts, "waits for "+p.WaitsFor)
	}
	if p.OpenCTI != nil {
		parts = append(parts, "OpenCTI has imported "+p.OpenCTI.String())
	}
	if p.Failure != "" {
		parts = append(parts, "the last try failed: "+p.Failure)
	}
	if p.Earlier && p.sum() != "" {
		parts = append(parts, "counted since the connector started")
	}
	return strings.Join(parts, ", ")
}

// String tells how far it is, in words that follow its name.
func (d Dataset) String() string {
	switch {
	case d.Done:
		return words.Grouped(d.Items) + " done"
	case d.After != "":
		return "goes on after " + d.After
	case d.Items == 0 && d.Left == 0 && d.Until.IsZero():
		return "not listed yet"
	case d.Until.IsZero():
		return words.Grouped(d.Items) + " of " + Listed(d.Items+int64(d.Left), d.Resumed)
	}
	return words.Grouped(d.Items) + " up to " + moment(d.Until)
}

// Listed writes how many items a run has to fetch of a dataset, which are not all of them where an earlier one has begun it.
func Listed(n int64, resumed bool) string {
	if resumed {
		return words.Grouped(n) + " that were left"
	}
	return words.Grouped(n)
}

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Second).String()
}

// moment is a day where it is the begin of one.
func moment(t time.Time) string {
	if t = t.UTC(); t.Equal(t.Truncate(24 * time.Hour)) {
		return t.Format(time.DateOnly)
	}
	return t.Format("2006-01-02 15:04")
}
