package preview

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/fetch"
)

// Options say what is looked at, and what is shown of it.
type Options struct {
	From    string   // begin of the window, as [config.ParseStart] takes it; "" for that of the configuration
	To      string   // its end, in the same form; "" for none
	Dataset []string // those to look at, also where the configuration switches them off; none for those of the configuration
	Items   int      // to read of each dataset of items
	Pages   int      // of indicators to read
	All     bool     // read everything
	Output  string   // a folder for bundles, "" for none
	Sample  int      // objects to show
	JSON    bool

	Progress bool // show on standard error how it gets on
}

// mostSamples bounds what is kept in memory to be shown.
const mostSamples = 100

// Validate refuses what makes no sense.
func (o Options) Validate() error {
	now := time.Now()
	for _, bound := range []struct{ flag, text string }{{"--from", o.From}, {"--to", o.To}} {
		if bound.text == "" {
			continue
		}
		if _, err := config.ParseStart(bound.text, now); err != nil {
			return fmt.Errorf("%s: %w", bound.flag, err)
		}
	}
	switch {
	case o.Items < 1 || o.Pages < 1:
		return errors.New("--items and --pages must be at least 1")
	case o.Sample < 0 || o.Sample > mostSamples:
		return fmt.Errorf("--sample must be from 0 to %d", mostSamples)
	case o.Output == "":
		return nil
	}
	entries, err := os.ReadDir(o.Output)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("--output: %w", err)
	case len(entries) > 0:
		return fmt.Errorf("--output: %s is not empty; name a folder that is, or that is not there yet", o.Output)
	}
	return nil
}

// window is the time that is looked at: what changed at or after From, and before To where there is one.
type window struct {
	from time.Time
	to   time.Time // zero for none
	now  time.Time
}

// end is where the window ends, or as far as it reaches by now.
func (w window) end() time.Time {
	if w.to.IsZero() {
		return w.now
	}
	return w.to
}

// window is what the options, and the configuration where they say nothing, ask for.
func (o Options) window(cfg config.Config, now time.Time) (window, error) {
	w := window{from: cfg.ThreatMatch.ImportFrom.From(now), now: now.UTC()}
	for _, bound := range []struct {
		text string
		into *time.Time
	}{{o.From, &w.from}, {o.To, &w.to}} {
		if bound.text == "" {
			continue
		}
		start, err := config.ParseStart(bound.text, now)
		if err != nil {
			return window{}, err
		}
		*bound.into = start.From(now)
	}
	if !w.from.Before(w.end()) {
		return window{}, &config.Error{Problems: []config.Problem{{
			Name: "--to", Value: fmt.Sprintf("%q", o.To), Advice: "must be later than the begin of the window, " + w.from.Format(time.RFC3339),
		}}}
	}
	return w, nil
}

// bundles is what writes to the folder that the options name, nil for none.
func (o Options) bundles() (*bundles, error) {
	if o.Output == "" {
		return nil, nil
	}
	b, err := newBundles(o.Output)
	if err != nil {
		return nil, &config.Error{Problems: []config.Problem{{Name: "--output", Value: fmt.Sprintf("%q", o.Output), Advice: err.Error()}}}
	}
	return b, nil
}

// configured is the configuration with the datasets that the options ask for.
func (o Options) configured(cfg config.Config) (config.Config, error) {
	t := &cfg.ThreatMatch
	if len(o.Dataset) > 0 {
		t.Profiles, t.Alerts, t.Reports, t.IOCs = false, false, false, false
	}
	for _, name := range o.Dataset {
		switch name {
		case fetch.ProfilesDataset:
			t.Profiles = true
		case fetch.AlertsDataset:
			t.Alerts = true
		case fetch.ReportsDataset:
			t.Reports = true
		case fetch.IndicatorsDataset:
			t.IOCs = true
		}
	}
	if !t.Profiles && !t.Alerts && !t.Reports && !t.IOCs {
		return cfg, &config.Error{Problems: []config.Problem{{
			Name: "THREATMATCH_IMPORT_PROFILES, _ALERTS, _IOCS and _REPORTS", Advice: "are all off, so there is nothing to look at; name datasets with --dataset",
		}}}
	}
	return cfg, nil
}
