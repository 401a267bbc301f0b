package heldstate

import (
	"fmt"
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/state"
)

// moment writes a time as briefly as it can be written exactly, in UTC.
func moment(t time.Time) string {
	t = t.UTC()
	switch {
	case t.IsZero():
		return "-"
	case t.Equal(t.Truncate(time.Second)):
		return t.Format("2006-01-02 15:04:05Z")
	}
	return t.Format("2006-01-02 15:04:05.999999999Z")
}

// count writes a number with the word for what is counted.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// list writes ids, and how many more there are than can be read at a glance.
func list(ids []string) string {
	const most = 10
	if len(ids) <= most {
		return strings.Join(ids, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(ids[:most], ", "), len(ids)-most)
}

// under begins a line below one that begins with "  before: ".
const under = "\n          "

// where says in words where a dataset is.
func where(d state.Description, name string) string {
	if p, found := d.Dataset(name); found {
		return whereAt(p)
	}
	return "never imported; begins with the import"
}

// whereBackfilled says in words where the backfill of a dataset is.
func whereBackfilled(d state.Description, name string) string {
	if p, found := d.Backfilled(name); found {
		return whereAt(p)
	}
	return "none under way"
}

// importedSince says from when on something is imported, or about to be.
func importedSince(d state.Description) string {
	if len(d.Backfill) > 0 && !d.Beginning.After(d.UnderWay.From) { // which the next run sees to
		return moment(d.Beginning) + ", the backfill under way included"
	}
	return moment(d.Beginning)
}

func whereAt(p state.DatasetPlace) string {
	said := []string{"read from " + moment(p.Since)}
	if !p.Until.IsZero() {
		said[0] += " to " + moment(p.Until)
	}
	if p.Pass != nil {
		said = append(said, "a pass of "+moment(p.Pass.Started)+" under way, "+after(p.Pass.After))
	}
	if len(p.Failed)+len(p.Gone) > 0 {
		said = append(said, fmt.Sprintf("%s failed, %d gone", count(len(p.Failed), "item", "items"), len(p.Gone)))
	}
	return strings.Join(said, under)
}

func after(position string) string {
	if position == "" {
		return "at its begin"
	}
	return "after " + position
}

// ago says how long something is past.
func ago(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case d < time.Second:
		return "just now"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s ago", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min ago", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", d/time.Hour)
	}
	return fmt.Sprintf("%d days ago", d/(24*time.Hour))
}
