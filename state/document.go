package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

var (
	// ErrUnreadable says that the state in OpenCTI is not one that this connector, or the one before it, wrote.
	ErrUnreadable = errors.New("the connector's state in OpenCTI cannot be read: restore it, or reset the connector in OpenCTI (Data > Ingestion > Connectors) to import everything again")
	// ErrNewer says that a newer release wrote the state.
	ErrNewer = errors.New("the connector's state in OpenCTI was written by a newer release: run that release, or reset the connector in OpenCTI (Data > Ingestion > Connectors) to import everything again")
)

// version is the layout of the state. A release that changes it so that older ones would misread it counts it up.
const version = 1

const (
	// mostWorks bounds the works that are remembered: a connector that runs every hour meets so many in two days, by when
	// OpenCTI has imported the oldest or never will.
	mostWorks = 50
	// mostDoubted bounds the runs that are doubted: the state is a text for people, and so many deleted works are no accident.
	mostDoubted = 64
	// mostBrought bounds the items that are remembered with works, some 20 kB beside the 35 kB that the places of so many
	// works take: an older work leads to the beginning then, which needs none.
	mostBrought = 2000
)

// document is the state as this connector understands it.
type document struct {
	place
	// index names the index of delivered objects that belongs to the cursors, and folder the place on disk of whoever wrote
	// this.
	index, folder string
	// processes are the numbers of those whose states the writer has seen, and its own at the end; see [intruder].
	processes []string
	// beginning is the earliest moment that was imported from since the state was empty: where everything is.
	beginning time.Time
	// began is where the schedule's import of each dataset began.
	began map[string]time.Time
	// cancelled are the numbers of backfills that were cancelled, of which a work may still be lost.
	cancelled []uint64
	// claimed says that nothing was delivered yet: the state says whose it is, and not yet where the import begins, which an
	// operator may still change.
	claimed bool
	// commits counts what no older state may cover, over resets and restored backups, as long as the folder is the same.
	commits uint64
	// reset is when the connector was created in OpenCTI or last reset, as far as its writer knew; zero where OpenCTI does not say.
	reset time.Time
	// works are those that OpenCTI may not have imported all of, oldest first, and doubted the runs of deleted ones.
	works   []noted
	doubted []uint32
	// edited is when an operator stored this by hand, zero once a connector has taken it over.
	edited time.Time
	// others are members that somebody else wrote; they are kept.
	others map[string]json.RawMessage
}

// Work is a work at OpenCTI of which something may still have to be imported, or to be sent again.
type Work struct {
	ID string `json:"id"`
	// Run is the number of the run that opened it, by which the index knows what it has delivered.
	Run uint32 `json:"run"`
	// Opened is when that was.
	Opened time.Time `json:"opened"`
	// Open says that the work was not closed yet.
	Open bool `json:"open"`
	// Errors is how many of the work's errors are worked off, and Said how many of them are no imports that failed, but what the
	// connector itself said as it closed the work.
	Errors int `json:"errors,omitempty"`
	Said   int `json:"said,omitempty"`
	// Done says that all was imported or has failed, and that some of what failed is still to be sent again.
	Done bool `json:"done,omitempty"`
}

// Failed is how many of the imports that failed are worked off.
func (w Work) Failed() int { return w.Errors - w.Said }

// noted is a work as the state remembers it.
type noted struct {
	Work
	// From is where its run began, and all is imported again from should it turn out to be deleted; nothing in it stands
	// for the beginning. Of what was owed there it keeps what the run has brought.
	From place `json:"from"`
}

func (d document) empty() bool {
	return d.lastRun.IsZero() && len(d.datasets)+len(d.works)+len(d.doubted)+len(d.others) == 0 && d.commits == 0
}

// fresh says that no run has brought, or opened, anything.
func (d document) fresh() bool {
	return d.place.isNothing() && len(d.works)+len(d.doubted) == 0
}

func (d document) clone() document {
	c := d
	c.place = d.place.clone()
	c.works, c.doubted = slices.Clone(d.works), slices.Clone(d.doubted)
	for i := range c.works {
		c.works[i].From = c.works[i].From.clone()
	}
	return c
}

// parse reads a state text that OpenCTI holds. The error wraps ErrUnreadable or ErrNewer. What could be read of an unreadable
// state is returned too.
func parse(text string) (document, error) {
	d, written, bad := interpret(text)
	switch {
	case written > version:
		return d, fmt.Errorf("read state of version %d: %w", written, ErrNewer)
	case len(bad) > 0:
		return d, fmt.Errorf("read state: %w", errors.Join(append(bad, ErrUnreadable)...))
	}
	return d, nil
}

// interpret reads as much of a state text as can be read. It returns the version of who wrote it, 0 where that is not said, and
// what is wrong.
func interpret(text string) (d document, written int, bad []error) {
	d = document{place: place{}.clone()}
	if isNothing(text) {
		return d, 0, nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &members); err != nil {
		return d, 0, []error{err}
	}
	readers := map[string]func(json.RawMessage) error{
		"version": func(raw json.RawMessage) error { return json.Unmarshal(raw, &written) },
		"last_run": func(raw json.RawMessage) (err error) {
			d.lastRun, err = parseLastRun(raw)
			return err
		},
		"import_from": func(raw json.RawMessage) error { return json.Unmarshal(raw, &d.importFrom) },
		"datasets":    func(raw json.RawMessage) error { return json.Unmarshal(raw, &d.datasets) },
		"index":       func(raw json.RawMessage) error { return json.Unmarshal(raw, &d.index) },
		"folder":      func(raw json.RawMessage) error { return json.Unmarshal(raw, &d.folder) },
		"processes":   func(raw json.RawMessage) error { return json.Unmarshal(raw, &d.processes) },
		"backfill":    func(raw json.RawMessage) error { return json.Unmarshal(raw, &d.backfill) },
		"began":       func(raw json.RawMessage) error { return json.Unmarshal(raw, &d.began) },
		"cancelled":   func(raw json.RawMessage) error { return json.Unmarshal(raw, &d.cancelled) },
		"beginning":   func(raw json.RawMessage) error { return json.Unmarshal(raw, &d.beginning) },
		"commits":     func(raw json.RawMessage) error { return json.Unmarshal(raw, &d.commits) },
		"reset":       func(raw json.RawMessage) error { return json.Unmarshal(raw, &d.reset) },
		"works":       func(raw json.RawMessage) error { return json.Unmarshal(raw, &d.works) },
		"doubted":     func(raw json.RawMessage) error { return json.Unmarshal(raw, &d.doubted) },
		"edited":      func(raw json.RawMessage) error { return json.Unmarshal(raw, &d.edited) },
	}
	for name, raw := range members {
		read, ours := readers[name]
		if !ours {
			if d.others == nil {
				d.others = make(map[string]json.RawMessage)
			}
			d.others[name] = raw
			continue
		}
		if err := read(raw); err != nil {
			bad = append(bad, fmt.Errorf("%s: %w", name, err))
		}
	}
	return d, written, append(bad, d.check()...)
}

// check finds what no release would have written.
func (d *document) check() []error {
	var bad []error
	d.place = d.place.clone() // with all its maps
	if d.lastRun.IsZero() && len(d.datasets)+len(d.works)+len(d.doubted) == 0 && d.commits == 0 {
		bad = append(bad, errors.New("it says neither last_run nor datasets"))
	}
	bad = append(bad, d.place.check()...)
	for _, w := range d.works {
		bad = append(bad, w.From.check()...)
	}
	return bad
}

// parseLastRun reads ISO 8601 text, with or without an offset, or unix seconds, as older releases of the upstream
// connector wrote them. null is no last run.
func parseLastRun(raw json.RawMessage) (time.Time, error) {
	var seconds float64
	var text string
	switch {
	case string(raw) == "null":
		return time.Time{}, nil
	case json.Unmarshal(raw, &text) == nil:
		if t, ok := pipeline.ParseTime(text); ok {
			return t, nil
		}
		return time.Time{}, fmt.Errorf("%q is not a time", text)
	case json.Unmarshal(raw, &seconds) == nil:
		const latest = 253402300799 // the end of the year 9999
		if seconds <= 0 || seconds > latest {
			return time.Time{}, fmt.Errorf("%s is not a time in seconds", raw)
		}
		whole, fraction := math.Modf(seconds)
		return time.Unix(int64(whole), int64(fraction*1e9)).UTC(), nil
	}
	return time.Time{}, fmt.Errorf("%s is not a time", raw)
}

// text writes the state, members in a fixed order.
func (d document) text() string {
	if d.empty() {
		return "null"
	}
	var b bytes.Buffer
	separator := byte('{')
	member := func(name string, value any) {
		b.WriteByte(separator)
		separator = ','
		key, err := json.Marshal(name)
		if err != nil {
			panic("marshal state: " + err.Error()) // cannot happen: it is a text
		}
		raw, err := json.Marshal(value)
		if err != nil {
			panic("marshal state: " + err.Error()) // cannot happen: times are within the years 1 to 9999
		}
		fmt.Fprintf(&b, "%s:%s", key, raw)
	}
	if !d.lastRun.IsZero() {
		member("last_run", d.lastRun.UTC().Format("2006-01-02T15:04:05-07:00"))
	}
	if len(d.datasets) > 0 {
		member("datasets", d.datasets)
	}
	if len(d.backfill) > 0 {
		member("backfill", d.backfill)
	}
	if !d.importFrom.IsZero() && !d.claimed {
		member("import_from", d.importFrom)
	}
	if d.index != "" {
		member("index", d.index)
	}
	if d.folder != "" {
		member("folder", d.folder)
	}
	if len(d.processes) > 0 {
		member("processes", d.processes)
	}
	if !d.beginning.IsZero() && !d.claimed {
		member("beginning", d.beginning)
	}
	if len(d.began) > 0 {
		member("began", d.began)
	}
	if len(d.cancelled) > 0 {
		member("cancelled", d.cancelled)
	}
	if d.commits > 0 {
		member("commits", d.commits)
	}
	if !d.reset.IsZero() {
		member("reset", d.reset.UTC())
	}
	if len(d.works) > 0 {
		member("works", d.works)
	}
	if len(d.doubted) > 0 {
		member("doubted", d.doubted)
	}
	if !d.edited.IsZero() {
		member("edited", d.edited.UTC())
	}
	member("version", version)
	names := make([]string, 0, len(d.others))
	for name := range d.others {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		member(name, d.others[name])
	}
	b.WriteByte('}')
	return b.String()
}

// settleLastRun moves lastRun on when every enabled dataset has completed a pass and owes nothing.
func (d *document) settleLastRun(enabled []string) {
	var earliest time.Time
	for _, name := range enabled {
		c, found := d.datasets[name]
		if !found || c.Pass != nil || len(c.Failed) > 0 {
			return
		}
		if earliest.IsZero() || c.Since.Before(earliest) {
			earliest = c.Since
		}
	}
	d.importFrom = time.Time{}
	if earliest = earliest.UTC().Truncate(time.Second); earliest.After(d.lastRun) {
		d.lastRun = earliest
	}
}

// everywhere changes where the datasets are and where each remembered work began, so that no work leads further ahead
// than the index allows.
func (d *document) everywhere(change func(*place)) {
	change(&d.place)
	for i := range d.works {
		change(&d.works[i].From)
	}
}

// begin notes where the first run begins, and that a dataset which was enabled later begins before. A state of an earlier
// release does not say so: then it is as far back as can be known.
func (d *document) begin(importStart time.Time, enabled []string) {
	var starts []time.Time
	if d.beginning.IsZero() {
		starts = append(starts, importStart, d.lastRun, d.importFrom)
	}
	for _, c := range d.datasets {
		starts = append(starts, c.Since)
	}
	for _, w := range d.backfill {
		starts = append(starts, w.From)
	}
	began := maps.Clone(d.began)
	if began == nil {
		began = map[string]time.Time{}
	}
	for _, name := range enabled {
		c, found := d.datasets[name]
		if !found {
			c.Since = d.importFrom
			starts = append(starts, c.Since)
		}
		// Where a dataset was switched on, again or later than the others, the upstream connector would begin it too late.
		if d.lastRun.After(c.Since) {
			d.lastRun = c.Since.UTC().Truncate(time.Second)
		}
		if _, found := began[name]; !found {
			began[name] = d.importedSince(name)
		}
	}
	d.began = began
	for _, t := range starts {
		if !t.IsZero() && (d.beginning.IsZero() || t.Before(d.beginning)) {
			d.beginning = t.UTC()
		}
	}
}
