package heldstate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/state"
)

// SetSince moves where a dataset is read from to a moment that is not in the future.
func (d *Desk) SetSince(ctx context.Context, dataset string, since time.Time) error {
	if !slices.Contains(d.Datasets, dataset) {
		return &Refusal{fmt.Sprintf("%q is no dataset that is imported; there are %s", dataset, strings.Join(d.Datasets, ", "))}
	}
	return d.change(ctx,
		func(held state.Held) (state.Change, error) { return state.SetSince(held, dataset, since, d.Datasets) },
		func(c state.Change) {
			d.compare(c)
			d.foretell(c, dataset, since)
		})
}

// compare shows what a change makes of each dataset, and of what all have in common.
func (d *Desk) compare(c state.Change) {
	names := slices.Clone(d.Datasets)
	for _, p := range slices.Concat(c.Before.Datasets, c.After.Datasets, c.Before.Backfill, c.After.Backfill) {
		if !slices.Contains(names, p.Name) {
			names = append(names, p.Name)
		}
	}
	row := func(what, before, after string) {
		if before != after {
			d.say("%s\n  before: %s\n  after:  %s", what, before, after)
		}
	}
	for _, name := range names {
		row(name, where(c.Before, name), where(c.After, name))
	}
	for _, name := range names {
		row("backfill of "+name, whereBackfilled(c.Before, name), whereBackfilled(c.After, name))
	}
	row("imported since", importedSince(c.Before), importedSince(c.After))
	row("complete until", moment(c.Before.LastRun), moment(c.After.LastRun))
	row("works to be looked at", fmt.Sprint(len(c.Before.Works)), fmt.Sprint(len(c.After.Works)))
	row("doubted runs", fmt.Sprint(len(c.Before.Doubted)), fmt.Sprint(len(c.After.Doubted)))
	row("others' members", list(c.Before.Others), list(c.After.Others))
}

// foretell says what the next run makes of it.
func (d *Desk) foretell(c state.Change, dataset string, since time.Time) {
	before, found := c.Before.Dataset(dataset)
	d.say("")
	if found && before.Pass != nil {
		d.say("The pass under way is given up; what it has delivered stays delivered.")
	}
	from := d.ImportFrom
	if found {
		from = before.Since
	}
	if since.After(from) {
		d.say("What changed in %s between %s and %s\nand was not read yet is skipped: OpenCTI gets it when it changes again.", dataset, moment(from), moment(since))
	}
	d.say("The next run reads what changed in %s since %s.", dataset, moment(since))
	d.say("Objects delivered already are not sent again; only what changed since then is, and what\nis new. To have everything sent again, use `state reset`.")
	if after, _ := c.After.Dataset(dataset); len(after.Failed)+len(after.Gone) > 0 {
		d.say("Items that failed or were gone stay owed: %s.", list(slices.Concat(after.Failed, after.Gone)))
	}
	if len(c.After.Backfill) > 0 {
		d.say("The backfill under way goes on as it is.")
	}
	d.tellOfIndex(c)
}

// tellOfIndex says so where the connector will not believe its index.
func (d *Desk) tellOfIndex(c state.Change) {
	if c.After.Index == "" {
		d.say("The state names no index of delivered objects, as before a first run and after a reset:\nthe connector starts a new one, and sends what it reads.")
	}
}
