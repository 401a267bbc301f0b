package preview

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
)

// plan is what is known of a dataset before it is read, and what is to be read of it.
type plan struct {
	dataset string
	// listed is how many items the window holds, -1 for indicators, of which only reading tells.
	listed int
	// later is how many items are listed that changed after the window.
	later int
	// ids are the items to read.
	ids    []string
	groups []threatmatch.Group
	err    error
}

// lister asks for what there is; [threatmatch.Client] is one.
type lister interface {
	List(ctx context.Context, dataset string, since time.Time) ([]string, error)
	Groups(ctx context.Context) ([]threatmatch.Group, error)
}

// survey asks what the window holds of each dataset: one call each, or two where the window has an end. The error is one that
// all calls would meet, or that ctx ended; what concerns one dataset stands in its plan.
func survey(ctx context.Context, api lister, datasets []string, w window, most int) ([]*plan, error) {
	plans := make([]*plan, 0, len(datasets))
	for _, name := range datasets {
		p := &plan{dataset: name, listed: -1}
		if name == fetch.IndicatorsDataset {
			p.groups, p.err = api.Groups(ctx)
		} else {
			p.err = p.list(ctx, api, w, most)
		}
		var away *threatmatch.AwayError
		switch {
		case errors.As(p.err, &away): // and for how long is no news, as it was hardly waited for
			return plans, fmt.Errorf("see what ThreatMatch holds: %w", away.Err)
		case p.err != nil && (ctx.Err() != nil || concernsAll(p.err)):
			return plans, fmt.Errorf("see what ThreatMatch holds: %w", p.err)
		}
		plans = append(plans, p)
	}
	return plans, nil
}

// concernsAll says that no other call would fare better.
func concernsAll(err error) bool {
	return threatmatch.IsUnauthorized(err) || threatmatch.IsTokenFailure(err)
}

// list finds out which items are in the window. The API lists the ids of what changed since a minute, and neither until when nor
// with a date; so those are in the window that a list since its end does not name.
func (p *plan) list(ctx context.Context, api lister, w window, most int) error {
	ids, err := api.List(ctx, p.dataset, w.from)
	if err != nil {
		return fmt.Errorf("list %s: %w", p.dataset, err)
	}
	if !w.to.IsZero() {
		later, err := api.List(ctx, p.dataset, wholeMinute(w.to))
		if err != nil {
			return fmt.Errorf("list %s after the window: %w", p.dataset, err)
		}
		all := len(ids)
		ids = slices.DeleteFunc(ids, func(id string) bool {
			_, found := slices.BinarySearchFunc(later, id, threatmatch.CompareIDs)
			return found
		})
		p.later = all - len(ids)
	}
	p.listed = len(ids)
	p.ids = spread(ids, most)
	return nil
}

// wholeMinute is the minute that ends at or after a moment: the lists know minutes only, and one that the window touches is in it.
func wholeMinute(t time.Time) time.Time {
	return t.Add(time.Minute - time.Nanosecond).Truncate(time.Minute)
}

// spread picks at most so many, evenly, the first and the last among them; 0 picks all.
func spread(ids []string, most int) []string {
	switch {
	case most <= 0 || len(ids) <= most:
		return ids
	case most == 1:
		return ids[len(ids)-1:] // the newest
	}
	picked := make([]string, most)
	for i := range picked {
		picked[i] = ids[i*(len(ids)-1)/(most-1)]
	}
	return picked
}
