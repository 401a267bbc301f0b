package preview

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/emit/followup"
	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/transform"
)

// Result is what a preview found out, as --json prints it. Sizes are in bytes, times in seconds.
type Result struct {
	Window   Window    `json:"window"`
	Datasets []Dataset `json:"datasets"`
	// Earlier tells where there is something, when the window holds nothing; nil else, or where that could not be found out.
	Earlier *Earlier `json:"earlier,omitempty"`
	// Objects are those that were read, each once, by type.
	Objects map[string]int `json:"objects"`
	// LeftOut counts what would not be sent, by reason; Examples are some of it.
	LeftOut  map[pipeline.Reason]int64 `json:"left_out"`
	Examples []LeftOut                 `json:"left_out_examples"`
	// Notes say which settings have no effect on what was read.
	Notes []string `json:"notes,omitempty"`

	Relations Relations         `json:"relations"`
	Import    Import            `json:"import"`
	Output    *Output           `json:"output,omitempty"`
	Sample    []json.RawMessage `json:"sample"`

	// Complete says that nothing failed of what was to be read; Stopped tells what ended it before.
	Complete bool    `json:"complete"`
	Stopped  string  `json:"stopped,omitempty"`
	Calls    int64   `json:"calls"`
	Seconds  float64 `json:"seconds"`
}

// Window is the time that was looked at; To is nil where it had no end.
type Window struct {
	From time.Time  `json:"from"`
	To   *time.Time `json:"to"`
}

// Dataset is what was found of one.
type Dataset struct {
	Name string `json:"dataset"`
	// InWindow is how many items or indicators the window holds; an estimate where Estimated says so.
	InWindow  int  `json:"in_window"`
	Estimated bool `json:"in_window_estimated"`
	// Later are items that were listed, and indicators that were read, but changed after the window.
	Later        int  `json:"later,omitempty"`
	LaterAtLeast bool `json:"later_at_least,omitempty"` // of indicators only what was read is known
	// Read are the items or indicators that were read, AllRead says that there are no more, and ReadTo is how far indicators
	// were read without a gap or by samples.
	Read    int        `json:"read"`
	AllRead bool       `json:"all_read"`
	ReadTo  *time.Time `json:"read_to,omitempty"`
	// Oldest and Newest are the dates of what was read: of each item the newest modified of its objects. Nil where there is none.
	Oldest *time.Time `json:"oldest,omitempty"`
	Newest *time.Time `json:"newest,omitempty"`

	Objects      map[string]int `json:"objects"` // by type, repeats included
	FetchedBytes int64          `json:"fetched_bytes"`
	ObjectBytes  int64          `json:"object_bytes"`
	LeftOut      int            `json:"left_out"`
	Messages     int            `json:"messages"` // of what was read
	Failed       int            `json:"failed"`
	Failures     []Failed       `json:"failures,omitempty"` // the first of them
	Error        string         `json:"error,omitempty"`    // what ended the dataset
}

// Failed is an item that could not be read, "" where it is not about a single one.
type Failed struct {
	ID    string `json:"id"`
	Error string `json:"error"`
}

// LeftOut is something that would not be sent.
type LeftOut struct {
	Reason  string `json:"reason"`
	Dataset string `json:"dataset"`
	Item    string `json:"item"`
	Text    string `json:"text"`
}

// Relations is what becomes of the relations that were read.
type Relations struct {
	Total int `json:"total"`
	// Refitted would be sent under another type, going by what a recent OpenCTI takes.
	Refitted      int            `json:"refitted"`
	RefittedTypes map[string]int `json:"refitted_types"`
	// WithoutEnd lead to what nothing that was read has brought: they would be held back, unless OpenCTI holds it. Only where all
	// was read does that say something of the whole window.
	WithoutEnd int  `json:"without_end"`
	AtLeast    bool `json:"without_end_at_least"` // there were more than can be remembered
	AllRead    bool `json:"all_read"`
}

// Output is what was written.
type Output struct {
	Dir     string `json:"dir"`
	Files   int    `json:"files"`
	Objects int    `json:"objects"`
}

// gathered is all that a result is made from.
type gathered struct {
	window   window
	plans    []*plan
	counter  *counter
	adds     bool  // THREATMATCH_SCORE is set
	feed     *feed // nil without indicators
	problems *problems
	report   pipeline.Report
	earlier  *Earlier
	pace     pace
	queue    int64 // bytes at which a run waits for OpenCTI
	imports  followup.Rate
	calls    int64
	took     time.Duration
	stopped  error
}

// result puts together what was found out.
func (g *gathered) result() *Result {
	r := &Result{
		Window: Window{From: g.window.from}, Objects: g.counter.types, LeftOut: g.report.LeftOut, Sample: g.counter.samples.texts(),
		Calls: g.calls, Seconds: g.took.Seconds(), Examples: []LeftOut{},
	}
	if !g.window.to.IsZero() {
		r.Window.To = &g.window.to
	}
	if g.stopped != nil {
		r.Stopped = g.stopped.Error()
	}
	tooLarge, toFiltered, barred, allRead := 0, 0, 0, g.stopped == nil
	for _, p := range g.plans {
		d := g.dataset(p)
		r.Datasets = append(r.Datasets, d)
		allRead = allRead && d.AllRead
		c := g.counter.datasets[p.dataset]
		tooLarge, toFiltered, barred = tooLarge+c.tooLarge, toFiltered+c.toFiltered, barred+c.barred
	}
	r.LeftOut = g.report.LeftOut.With(emit.TooLarge, int64(tooLarge)).With(emit.LeadsToFiltered, int64(toFiltered)).With(transform.AboveMaxTLP, int64(barred))
	if r.LeftOut == nil {
		r.LeftOut = pipeline.Tally{}
	}
	for _, why := range slices.Sorted(maps.Keys(g.counter.examples)) {
		r.Examples = append(r.Examples, g.counter.examples[why]...)
	}
	r.Earlier, r.Notes = g.earlier, g.notes(r.Datasets)
	rel := g.counter.relations
	r.Relations = Relations{rel.total, rel.fitted, rel.refittedTypes(), rel.withoutEnd, rel.overflow, allRead}
	r.Import = g.estimate(r.Datasets)
	if b := g.counter.bundles; b != nil {
		r.Output = &Output{b.dir, b.files, b.objects}
	}
	r.Complete = r.failure() == nil
	return r
}

// notes tell who filters by score of intelligence that states none that all of it passes.
func (g *gathered) notes(datasets []Dataset) (notes []string) {
	read, what := 0, "Nothing that was read"
	for _, d := range datasets {
		read += d.Read
		if d.Name == fetch.IndicatorsDataset && d.Read > 0 {
			what = "None of " + words.Grouped(d.Read) + " indicators read"
		}
	}
	if g.counter.minScore == 0 || g.counter.scored || read == 0 {
		return nil
	}
	notes = append(notes, what+" states a score: THREATMATCH_MIN_SCORE leaves out nothing.")
	if g.adds {
		notes = append(notes, "The score that THREATMATCH_SCORE adds is not compared with it.")
	}
	return notes
}

// dataset is what was found of one.
func (g *gathered) dataset(p *plan) Dataset {
	c, came := g.counter.datasets[p.dataset], g.counter.fetched[p.dataset]
	d := Dataset{
		Name: p.dataset, Read: c.items - came.outside, Later: p.later + came.outside, LaterAtLeast: came.outside > 0, Objects: c.objects, FetchedBytes: came.bytes, ObjectBytes: c.bytes,
		Messages: c.messages, LeftOut: c.tooLarge + c.toFiltered + c.barred, Failed: g.problems.count[p.dataset], Failures: g.problems.named[p.dataset],
	}
	if !came.oldest.IsZero() {
		d.Oldest, d.Newest = &came.oldest, &came.newest
	}
	err := p.err
	if report := g.report.Datasets[p.dataset]; report != nil {
		d.LeftOut += report.Rejected
		err = errors.Join(err, report.Err)
	}
	if err != nil && !(g.stopped != nil && errors.Is(err, context.Canceled)) { // which is no news then
		d.Error = err.Error()
	}
	switch {
	case p.dataset != fetch.IndicatorsDataset:
		d.InWindow, d.AllRead = max(0, p.listed), p.err == nil && d.Read == p.listed
	case g.feed == nil:
		d.Estimated = true
	default:
		d.AllRead = g.feed.isAllRead() && err == nil
		d.InWindow, d.Estimated = g.feed.estimate(d.Read), !d.AllRead
		if at := g.feed.reached; !at.IsZero() {
			d.ReadTo = &at
		}
	}
	return d
}

// isEmpty says that nothing is in the window, and that this is sure.
func (d Dataset) isEmpty() bool { return d.AllRead && d.InWindow == 0 && d.Error == "" }

func (r *Result) isEmpty() bool {
	return !slices.ContainsFunc(r.Datasets, func(d Dataset) bool { return !d.isEmpty() })
}

// isEmpty tells the same of what was gathered.
func (g *gathered) isEmpty() bool {
	return !slices.ContainsFunc(g.plans, func(p *plan) bool { return !g.dataset(p).isEmpty() })
}

// failure says what was not read that was to be, nil for nothing.
func (r *Result) failure() error {
	var errs []error
	if r.Stopped != "" {
		errs = append(errs, errors.New(r.Stopped+": this is only what was read until then"))
	}
	for _, d := range r.Datasets {
		if d.Error != "" && r.Stopped == "" {
			errs = append(errs, errors.New(d.Error))
		}
		if d.Failed > 0 {
			errs = append(errs, fmt.Errorf("%d of %s could not be read", d.Failed, d.Name))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("the preview is not complete: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return nil
}

// shortened cuts a text that a feed may have made as long as it likes.
func shortened(text string) string {
	const longest = 200
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest], "") + "…"
}
