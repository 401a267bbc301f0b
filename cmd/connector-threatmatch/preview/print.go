package preview

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// print writes a result for whoever the options say reads it.
func (o Options) print(r *Result, out io.Writer) error {
	var b bytes.Buffer
	if o.JSON {
		enc := json.NewEncoder(&b)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(r); err != nil {
			return err
		}
	} else {
		page{&b}.write(r)
		b = *bytes.NewBuffer(bytes.Map(printable, b.Bytes()))
	}
	_, err := out.Write(b.Bytes())
	return err
}

// printable takes away what a feed could tell a terminal to do.
func printable(r rune) rune {
	if unicode.IsControl(r) && r != '\n' {
		return '?'
	}
	return r
}

// page is a result as a person reads it, at most 100 columns wide.
type page struct{ *bytes.Buffer }

func (p page) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

func (p page) write(r *Result) {
	if r.Stopped != "" {
		p.line("PARTIAL: %s. This is only what was read until then.\n", r.Stopped)
	}
	to := "now (no end)"
	if r.Window.To != nil {
		to = r.Window.To.Format(time.RFC3339)
	}
	p.line("ThreatMatch, changed from %s to %s\n", r.Window.From.Format(time.RFC3339), to)
	p.datasets(r)
	if r.isEmpty() {
		p.nothing(r)
		return
	}
	p.dates(r)
	p.objects(r)
	p.leftOut(r)
	for i, note := range r.Notes {
		if i == 0 {
			p.line("")
		}
		p.line("%s", note)
	}
	p.relations(r)
	p.importing(r)
	if r.Output != nil {
		p.line("\nWritten: %s objects in %s files in %s", words.Grouped(r.Output.Objects), words.Grouped(r.Output.Files), r.Output.Dir)
	}
	p.line("\nThis preview took %s and %s calls, which count against the account's limit.", round(r.Seconds), words.Grouped(int(r.Calls)))
	for i, text := range r.Sample {
		if i == 0 {
			p.line("\nSample, as it would be sent:")
		}
		var pretty bytes.Buffer
		if json.Indent(&pretty, text, "", "  ") == nil {
			p.line("%s", pretty.String())
		}
	}
}

func (p page) datasets(r *Result) {
	p.line("%-10s%16s%11s%9s%9s%12s%10s%10s", "dataset", "in the window", "read", "failed", "left out", "objects", "fetched", "mapped")
	for _, d := range r.Datasets {
		objects := 0
		for _, n := range d.Objects {
			objects += n
		}
		p.line("%-10s%16s%11s%9s%9s%12s%10s%10s", d.Name, d.inWindow(), words.Grouped(d.Read), words.Grouped(d.Failed), words.Grouped(d.LeftOut), words.Grouped(objects),
			words.Bytes(d.FetchedBytes), words.Bytes(d.ObjectBytes))
	}
	for _, d := range r.Datasets {
		if d.Estimated && d.Error == "" && d.ReadTo != nil {
			p.line("%s: at least %s; all are counted only where all are read (--all).", d.Name, words.Grouped(d.Read))
		}
		if d.Later > 0 {
			atLeast := ""
			if d.LaterAtLeast {
				atLeast = "at least "
			}
			p.line("%s: %s%s changed after the window.", d.Name, atLeast, words.Grouped(d.Later))
		}
		if d.Error != "" {
			p.line("%s: NOT READ TO THE END: %s", d.Name, d.Error)
		}
		for _, f := range d.Failures {
			p.line("%s %s FAILED: %s", d.Name, f.ID, f.Error)
		}
		if more := d.Failed - len(d.Failures); more > 0 {
			p.line("%s: and %s more", d.Name, words.Grouped(more))
		}
	}
	if r.Window.To != nil {
		p.line("ThreatMatch lists items by whole minutes; what changed again after the window is not in it.")
	}
}

// dates tell where in the window it lies.
func (p page) dates(r *Result) {
	p.line("\n%-10s%19s%19s", "of read", "oldest change", "newest change")
	for _, d := range r.Datasets {
		oldest, newest := "-", "-"
		if d.Oldest != nil {
			oldest, newest = d.Oldest.Format(shownTime), d.Newest.Format(shownTime)
		}
		p.line("%-10s%19s%19s", d.Name, oldest, newest)
	}
}

// shownTime is how dates are shown, in UTC.
const shownTime = "2006-01-02 15:04"

// nothing tells what to try where the window holds nothing.
func (p page) nothing(r *Result) {
	p.line("\nThis window holds nothing.")
	switch e := r.Earlier; {
	case slices.ContainsFunc(r.Datasets, func(d Dataset) bool { return d.Later > 0 }):
		p.line("There is something later: try a later --to, or none.")
	case e == nil:
		p.line("Try an earlier begin, such as --from P1Y.")
	case len(e.Datasets) == 0:
		p.line("ThreatMatch shows this account nothing earlier either: ask ThreatMatch what THREATMATCH_CLIENT_ID may see.")
	default:
		p.line("There is something earlier, of %s: try --from %s.", strings.Join(e.Datasets, ", "), e.From)
	}
	p.line("A first import begins at THREATMATCH_IMPORT_FROM_DATE.")
}

func (d Dataset) inWindow() string {
	switch {
	case d.Error != "" && d.InWindow == 0:
		return "?"
	case d.Estimated:
		return "~" + words.Grouped(d.InWindow)
	}
	return words.Grouped(d.InWindow)
}

func (p page) objects(r *Result) {
	total, repeats := 0, map[string]int{}
	for _, d := range r.Datasets {
		for name, n := range d.Objects {
			repeats[name] += n
		}
	}
	for _, n := range r.Objects {
		total += n
	}
	p.line("\n%-26s%12s%22s", "type of what was read", "objects", "repeats included")
	for _, name := range byCount(r.Objects) {
		p.line("%-26s%12s%22s", name, words.Grouped(r.Objects[name]), words.Grouped(repeats[name]))
	}
	p.line("%-26s%12s", "all", words.Grouped(total))
}

func (p page) leftOut(r *Result) {
	left := pipeline.Tally(r.LeftOut)
	if left.Total() == 0 {
		p.line("\nNothing of it would be left out.")
		return
	}
	p.line("\nWould be left out:")
	for _, why := range left.Reasons() {
		p.line("%8s × %s", words.Grouped(int(left[why])), why)
		for _, e := range r.Examples {
			if e.Reason == string(why) {
				p.line("           %s", e.Text)
			}
		}
	}
}

func (p page) relations(r *Result) {
	rel := r.Relations
	p.line("\nRelations: %s", words.Grouped(rel.Total))
	if rel.Refitted > 0 {
		p.line("%8s would get a type that a recent OpenCTI takes (yours is not asked):", words.Grouped(rel.Refitted))
		for _, name := range byCount(rel.RefittedTypes) {
			p.line("%18s × %s", words.Grouped(rel.RefittedTypes[name]), name)
		}
	}
	if rel.WithoutEnd == 0 {
		return
	}
	atLeast := ""
	if rel.AtLeast {
		atLeast = "at least "
	}
	text := "lead to what the window does not bring: held back until something does, unless OpenCTI has it"
	if !rel.AllRead {
		text = "lead to what was not read; how many would be held back is known only where all is read (--all)"
	}
	p.line("%8s %s", atLeast+words.Grouped(rel.WithoutEnd), text)
}

func (p page) importing(r *Result) {
	e, about := r.Import, ""
	if e.Estimated {
		about = "~"
	}
	p.line("\nImporting the window, with nothing of it in OpenCTI yet:")
	p.line("%-10s%s%s", "calls", about, words.Grouped(e.Calls))
	p.line("%-10s~%s, ~%s in OpenCTI's queue", "messages", words.Grouped(e.Messages), words.Bytes(e.MessageBytes))
	if e.AboveThreshold {
		p.line("%-10smore than CONNECTOR_QUEUE_THRESHOLD: the run waits where OpenCTI does not keep up", "")
	}
	due := fmt.Sprintf("~%s at THREATMATCH_RATE_LIMIT=%v", round(e.Seconds), e.RatePerSecond)
	if e.Bound == byAnswers {
		due = fmt.Sprintf("at least %s%s, as ThreatMatch answers no faster", about, round(e.Seconds))
	}
	p.line("%-10s%s (an item took %s, a page %s)", "time", due, round(e.ItemSeconds), round(e.PageSeconds))
	p.line("%-10s%s", "OpenCTI", e.opencti())
}

// opencti says how long OpenCTI takes for the messages.
func (e Import) opencti() string {
	if e.OpenCTIRate == 0 {
		return "how fast its workers import is known once they had to work off what a run sent"
	}
	return fmt.Sprintf("~%s for its workers, at the %.3g messages/s of %s", words.Duration(seconds(e.OpenCTISeconds)), e.OpenCTIRate, e.OpenCTIRateAt.UTC().Format(shownTime))
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// byCount are the names, the most frequent first.
func byCount(counts map[string]int) []string {
	return slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), strings.Compare(a, b))
	})
}

// round is a time as people say it.
func round(s float64) string {
	d := seconds(s)
	switch {
	case d >= 10*time.Second:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Millisecond).String()
}
