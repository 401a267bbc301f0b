package state

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// Change is a state that an operator puts in place of the one that OpenCTI holds, while the connector is stopped. A connector
// that starts with the folder and the index of before takes it over as its own: it keeps the index, and takes the state neither
// for another instance's nor for that of a backup.
type Change struct {
	// Text is what is to be stored, "" where it says no more than what OpenCTI holds.
	Text string
	// Before and After tell what both say.
	Before, After Description
	// Foreign says that an imported state belongs to another index than OpenCTI's, or to a time before a reset. So it was taken back
	// to where the first of those runs began whose works OpenCTI had not imported by then, and to the begin of passes under way.
	Foreign bool
	// Forgotten are the works that are not looked at any more, because there are too many.
	Forgotten []string
}

// SetSince moves where the schedule reads a dataset from, to an earlier or a later moment, and leaves a backfill under way as it is.
// enabled names the datasets that are imported.
//
// A pass under way of the dataset begins again there; what it had still to read of the time before is not read. Items that
// failed or were not found stay owed. A work that OpenCTI turns out to have lost leads no further ahead than to that moment.
// The error wraps [ErrUnreadable] or [ErrNewer].
func SetSince(held Held, dataset string, since time.Time, enabled []string) (Change, error) {
	before, err := parse(held.State)
	if err != nil {
		return Change{}, err
	}
	before.heedReset(held)
	after := before.clone()
	after.beginAtLastRun(enabled)
	since = since.UTC()
	now := after.datasets[dataset]
	after.datasets[dataset] = pipeline.Cursor{Since: since, Failed: now.Failed, Gone: now.Gone}
	after.everywhere(func(p *place) { p.noLaterThan(dataset, since) })
	if since.Before(after.beginning) {
		after.beginning = since
	}
	if began, found := after.began[dataset]; found && since.Before(began) {
		after.began = maps.Clone(after.began)
		after.began[dataset] = since
	}
	change := Change{Before: before.describe()}
	if after.text() != before.text() {
		change.Text = after.edit(held)
	}
	change.After = after.describe()
	return change, nil
}

// Import puts an exported state in place of what OpenCTI holds, which need not be readable. From the export comes where the
// datasets are, and its backfill, if any, takes the place of one that is under way. Whose the state is, the index that belongs to
// it, and the works that are still to be looked at stay, and none of those leads further ahead than the export. enabled names the
// datasets that are imported.
//
// The error wraps [ErrUnreadable] or [ErrNewer] for an export that cannot be used, and [ErrNewer] where OpenCTI holds the state
// of a newer release.
func Import(held Held, export string, enabled []string) (Change, error) {
	file, err := parseExport(export)
	if err != nil {
		return Change{}, err
	}
	before, unreadable := parse(held.State)
	if errors.Is(unreadable, ErrNewer) {
		return Change{}, unreadable
	}
	before.heedReset(held)
	after := before.clone()
	if unreadable != nil {
		after.works = slices.DeleteFunc(after.works, func(w noted) bool { return len(w.From.check()) > 0 })
		if after.folder == "" {
			after.folder, after.index = file.folder, file.index // nothing else is known
		}
	}
	file.beginAtLastRun(enabled)
	change := Change{Before: before.describe()}
	change.Foreign = file.index != after.index || file.folder != after.folder || !file.reset.IsZero() && held.Stamp.After(file.reset)
	if change.Foreign {
		if len(file.works) > 0 {
			file.beginning = file.start() // one of them may lead there
		}
		// The index does not know what these runs delivered, and what lay in the queue may have gone.
		file.goBackToWorks(func(Work) bool { return true })
		file.everywhere((*place).beginPassesAgain)
		file.works, file.doubted = nil, nil
	}
	change.Forgotten = after.goTo(file)
	if unreadable != nil || after.text() != before.text() {
		after.commits = max(after.commits, file.commits)
		change.Text = after.edit(held)
	}
	change.After = after.describe()
	return change, nil
}

// heedReset forgets a state that was stored just when the connector was reset: a connector that starts does, too.
func (d *document) heedReset(held Held) {
	if !d.reset.IsZero() && held.Stamp.After(d.reset) {
		*d = document{place: place{}.clone(), folder: d.folder, commits: d.commits}
	}
}

// goTo takes over where the datasets are in another document, the works that only it remembers, and what it doubts. It returns the
// works that give way.
func (d *document) goTo(other document) (forgotten []string) {
	d.place, d.others, d.began = other.place.clone(), other.others, other.began
	d.cancelled = slices.Compact(slices.Sorted(slices.Values(slices.Concat(d.cancelled, other.cancelled))))
	if !d.beginning.IsZero() || !other.beginning.IsZero() { // else the next run knows best
		d.beginning = earliest(d.beginning, other.start())
	}
	for i := range d.works {
		d.works[i].From.noFurtherThan(other.place)
	}
	for _, w := range other.works {
		if d.find(w.ID) < 0 {
			d.works = append(d.works, w)
		}
	}
	slices.SortStableFunc(d.works, func(a, b noted) int { return a.Opened.Compare(b.Opened) })
	for len(d.works) > mostWorks {
		forgotten, d.works = append(forgotten, d.works[0].ID), d.works[1:]
	}
	for _, run := range other.doubted {
		d.doubt(run)
	}
	return forgotten
}

// start is the earliest moment that is known to have been imported from. A state of an earlier release does not say so.
func (d *document) start() time.Time {
	if !d.beginning.IsZero() {
		return d.beginning
	}
	start := earliest(d.lastRun, d.importFrom)
	for _, c := range d.datasets {
		start = earliest(start, c.Since)
	}
	for _, w := range d.backfill {
		start = earliest(start, w.From)
	}
	return start
}

// earliest returns the first of some moments, zero ones left out.
func earliest(moments ...time.Time) (first time.Time) {
	for _, t := range moments {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// edit returns the text by which a document takes the place of the one that is held: it counts more, so that nobody takes it for an
// old one, and knows of the last reset, so that nobody takes it for one of before.
func (d *document) edit(held Held) string {
	d.commits++
	d.edited = time.Now().UTC().Truncate(time.Second)
	if !held.Stamp.IsZero() {
		d.reset = held.Stamp
	}
	return d.text()
}

// parseExport reads an exported state. Its errors are about that, not about what OpenCTI holds.
func parseExport(text string) (document, error) {
	d, written, bad := interpret(text)
	switch {
	case written > version:
		return d, &exportError{ErrNewer, fmt.Errorf("it was written by a newer release, as version %d: use that release", written)}
	case len(bad) > 0:
		return d, &exportError{ErrUnreadable, fmt.Errorf("it is not a state of this connector: %w", errors.Join(bad...))}
	case isNothing(text):
		return d, &exportError{ErrUnreadable, errors.New("it is empty")}
	}
	return d, nil
}

// exportError is an ErrUnreadable or ErrNewer in other words.
type exportError struct{ is, why error }

func (e *exportError) Error() string        { return e.why.Error() }
func (e *exportError) Is(target error) bool { return target == e.is }

// SameText reports whether two state texts say the same.
func SameText(a, b string) bool { return sameText(a, b) || isNothing(a) && isNothing(b) }
