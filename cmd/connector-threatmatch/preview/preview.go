// Package preview tells what a window of ThreatMatch's intelligence holds, and what importing it would take, without sending
// anything anywhere.
//
// It reads as a run does, with a sink that counts, so memory stays flat whatever the window holds: repeats of an object are told by
// sets of a fixed size. It calls neither OpenCTI nor RabbitMQ, and of CONNECTOR_STATE_DIR it reads the history of runs alone.
package preview

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/connector"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/history"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/progress"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/remotes"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/transform"
)

// Host is where a preview runs, and for whom.
type Host struct {
	Version        string // of the program
	Stdout, Stderr io.Writer
}

// patience is how long a ThreatMatch that does not answer is waited for, and how often a call is tried.
type patience struct {
	away     time.Duration
	attempts int
}

// Whoever begins a preview wants to hear soon that nothing can be reached, and one that has read for an hour is not to end for a
// restart.
var (
	atFirst   = patience{500 * time.Millisecond, 2}
	meanwhile = patience{2 * time.Minute, 0} // the client's usual number
)

// progressEvery is how often a line tells how it gets on where there is no terminal.
const progressEvery = 30 * time.Second

// Run looks at the window that the options name and prints what it holds. When ctx ends it prints what it has found until then.
// An error of type [*config.Error] says that the options and the configuration do not go together; any other that something could
// not be read.
func Run(ctx context.Context, o Options, cfg config.Config, host Host) error {
	began := time.Now()
	cfg, err := o.configured(cfg)
	if err != nil {
		return err
	}
	w, err := o.window(cfg, began)
	if err != nil {
		return err
	}
	written, err := o.bundles()
	if err != nil {
		return err
	}
	shown := o.display(host.Stderr)
	p := &preview{options: o, cfg: cfg, host: host, window: w, bundles: written, display: shown, log: status.NewLogger(cfg, shown.log)}
	found, err := p.look(ctx)
	shown.close()
	if err != nil {
		return err
	}
	found.took = time.Since(began)
	result := found.result()
	if err := o.print(result, host.Stdout); err != nil {
		return fmt.Errorf("print what was found: %w", err)
	}
	return result.failure()
}

// preview is one call of Run.
type preview struct {
	options Options
	cfg     config.Config
	host    Host
	window  window
	bundles *bundles // nil where nothing is written
	display display
	log     *zap.Logger
}

// look asks what there is, and then reads.
func (p *preview) look(ctx context.Context) (found *gathered, err error) {
	keys, err := remotes.NewKeyring(p.cfg, nil)
	if err != nil {
		return nil, err
	}
	carrier := remotes.ToThreatMatch(p.cfg, keys)
	watch := &stopwatch{carrier: carrier}
	defer watch.CloseIdleConnections()
	first, err := p.client(watch, atFirst)
	if err != nil {
		return nil, err
	}
	plans, err := survey(ctx, first, connector.Datasets(p.cfg), p.window, p.most(p.options.Items))
	if err != nil && ctx.Err() == nil {
		return nil, err
	}
	p.tellPlans(plans)
	g := &gathered{window: p.window, adds: p.cfg.ThreatMatch.Score != nil, plans: plans, queue: int64(p.cfg.Connector.QueueThreshold * 1e6), problems: newProblems(), report: pipeline.Report{LeftOut: pipeline.Tally{}}}
	past, err := history.Read(p.cfg.Connector.StateDir)
	if err != nil {
		p.log.Info("how fast OpenCTI imports is not known", zap.Error(err))
	}
	g.imports = past.ImportRate
	if g.counter, err = p.newCounter(plans); err != nil {
		return nil, err
	}
	g.calls = first.Requests()
	if ctx.Err() != nil {
		g.stopped = context.Cause(ctx)
		return g, nil
	}
	api, err := p.client(watch, meanwhile)
	if err != nil {
		return nil, err
	}
	sources := p.sources(api, g)
	budget := int64(p.cfg.Connector.Memory) << 20
	g.report = pipeline.Run(ctx, pipeline.Config{Payload: budget / 2, Observer: p.display, Log: p.log}, sources, g.counter, g.counter, startAt(p.window))
	if ctx.Err() == nil && g.isEmpty() {
		g.earlier = lookEarlier(ctx, api, connector.Datasets(p.cfg), p.window)
	}
	written := g.counter.settle()
	g.calls += api.Requests()
	g.stopped = g.report.Err
	if ctx.Err() != nil {
		g.stopped = context.Cause(ctx)
	}
	g.stopped = errors.Join(g.stopped, written)
	items, pages := watch.timings()
	g.pace = pace{rate: p.cfg.ThreatMatch.RateLimit, concurrency: p.cfg.ThreatMatch.Concurrency, items: items, pages: pages}
	return g, nil
}

// most is a limit of the options, 0 where everything is read.
func (p *preview) most(limit int) int {
	if p.options.All {
		return 0
	}
	return limit
}

// client makes a client of the API.
func (p *preview) client(watch *stopwatch, patience patience) (*threatmatch.Client, error) {
	t := p.cfg.ThreatMatch
	return threatmatch.New(threatmatch.Config{
		URL: t.URL, ClientID: t.ClientID, ClientSecret: t.ClientSecret.Reveal(), RatePerSecond: t.RateLimit,
		Patience: patience.away, Attempts: patience.attempts, Transport: watch, UserAgent: "connector-threatmatch/" + p.host.Version, Log: p.log,
		MaxBody: p.cfg.Connector.LargestAnswer(),
	})
}

func (p *preview) newCounter(plans []*plan) (*counter, error) {
	t, err := connector.NewTransformer(p.cfg.ThreatMatch)
	if err != nil {
		return nil, fmt.Errorf("set up the mapping: %w", err)
	}
	descriptions, err := transform.ParseFormat(string(p.cfg.ThreatMatch.DescriptionFormat))
	if err != nil {
		return nil, fmt.Errorf("set up the mapping: %w", err)
	}
	fitter := builtInFitter(p.cfg.Connector.Relations == config.RelationsFit, descriptions)
	c := newCounter(t, fitter, p.window, p.cfg.Connector.MaxMessageBytes, plans)
	c.samples = &samples{most: p.options.Sample}
	c.sent, c.bundles, c.minScore = p.display.Sent, p.bundles, p.cfg.ThreatMatch.MinScore
	return c, nil
}

// sources read what was planned. A dataset that could not be listed is not read.
func (p *preview) sources(api *threatmatch.Client, g *gathered) []pipeline.Source {
	options := fetch.Options{
		Concurrency: p.cfg.ThreatMatch.Concurrency, NotBefore: p.window.from, Room: fetch.NewRoom(int64(p.cfg.Connector.Memory) << 20 / 4),
	}
	var sources []pipeline.Source
	for _, plan := range g.plans {
		var source pipeline.Source
		switch {
		case plan.err != nil:
			continue
		case plan.dataset == fetch.IndicatorsDataset:
			g.feed = &feed{Client: api, groups: plan.groups, window: p.window, most: p.most(p.options.Pages)}
			inRow := options
			inRow.Concurrency = 1 // the feed chooses which pages come next
			source = fetch.Indicators(g.feed, inRow)
		default:
			p.display.Total(plan.dataset, len(plan.ids))
			source = fetch.Items(listed{api, plan.ids}, plan.dataset, options)
		}
		sources = append(sources, watched{source, g.problems})
	}
	return sources
}

// tellPlans says what there is before it is read.
func (p *preview) tellPlans(plans []*plan) {
	if !p.options.Progress {
		return
	}
	for _, plan := range plans {
		switch {
		case plan.err != nil:
			fmt.Fprintf(p.display.log, "%s: %v\n", plan.dataset, plan.err)
		case plan.listed >= 0:
			fmt.Fprintf(p.display.log, "%s: %s in the window, reading %s\n", plan.dataset, words.Grouped(plan.listed), words.Grouped(len(plan.ids)))
		}
	}
}

// display shows how it gets on.
type display struct {
	shows
	log   io.Writer // for log lines meanwhile
	close func()
}

// shows is what a display is told.
type shows interface {
	pipeline.Observer
	Total(dataset string, items int)
	Sent(objects int)
}

// display chooses how progress is shown.
func (o Options) display(out io.Writer) display {
	const what = "objects"
	if !o.Progress {
		return display{progress.NewTally(what), out, func() {}}
	}
	if f, ok := out.(*os.File); ok && progress.IsTerminal(f) {
		bars := progress.NewBars(f, what)
		return display{bars, bars, bars.Close}
	}
	lines := progress.NewLines(out, progressEvery, what)
	return display{lines, out, lines.Close}
}
