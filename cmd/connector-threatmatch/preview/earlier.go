package preview

import (
	"context"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
)

// Earlier is where there is something, when the window holds nothing.
type Earlier struct {
	// From is the begin with which a window holds something of Datasets, as --from takes it; the latest of a few that were
	// tried. Where they all hold nothing, no datasets are named.
	From     string   `json:"from"`
	Datasets []string `json:"datasets"`
}

// lookEarlier looks for a window with the same end that holds something; a call or two for each dataset and begin. Nil says that it
// could not be found out.
func lookEarlier(ctx context.Context, api *threatmatch.Client, datasets []string, w window) *Earlier {
	unsure := false
	for _, begin := range []struct {
		text string
		at   time.Time
	}{
		{"P90D", w.now.AddDate(0, 0, -90)}, {"P1Y", w.now.AddDate(-1, 0, 0)}, {"P3Y", w.now.AddDate(-3, 0, 0)}, {"1970-01-01", time.Unix(0, 0).UTC()},
	} {
		if !begin.at.Before(w.from) {
			continue
		}
		found := Earlier{From: begin.text}
		from := window{from: begin.at, to: w.to, now: w.now}
		plans, err := survey(ctx, api, datasets, from, 1)
		unsure = unsure || err != nil
		for _, p := range plans {
			if p.err == nil && p.dataset == fetch.IndicatorsDataset {
				p.listed, p.err = firstIndicators(ctx, api, p.groups, from)
			}
			if p.listed > 0 {
				found.Datasets = append(found.Datasets, p.dataset)
			}
			unsure = unsure || p.err != nil
		}
		if len(found.Datasets) > 0 {
			return &found
		}
	}
	if unsure {
		return nil
	}
	return new(Earlier)
}

// firstIndicators counts the indicators of a window on its first page.
func firstIndicators(ctx context.Context, api *threatmatch.Client, groups []threatmatch.Group, w window) (count int, err error) {
	group, err := fetch.IndicatorGroup(groups)
	if err != nil {
		return 0, err
	}
	page, err := api.Indicators(ctx, group.ID, w.from.UTC().Format(bound))
	for _, object := range page.Objects {
		if at, ok := modifiedOf(object); !ok || !w.isOver(at) {
			count++
		}
	}
	return count, err
}
