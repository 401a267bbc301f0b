package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/connector"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/orders"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"
)

type backfillCommand struct {
	From, To       string // of the window, as [config.ParseStart] takes them; "" for none
	Dataset        []string
	Status, Cancel bool // show or end the one under way
	Detach         bool // do not wait for the end
	JSON           bool
}

const backfillHelp = `The schedule's own progress is untouched. The connector that runs with the same CONNECTOR_STATE_DIR
gets the order, and works it off between its scheduled runs: leave the command with Ctrl-C and come
back with --status whenever you like. Where none runs, the command does it itself. Progress is kept:
typing the command again goes on. A script waits for the end with the order itself, and asks how far
it is with --status --json.

Example:

    connector-threatmatch backfill --from 2015-01-01
    docker exec connector-threatmatch connector-threatmatch backfill --from P5Y --dataset profiles,alerts --detach
    connector-threatmatch backfill --cancel`

func (l *commandLine) backfill() *cobra.Command {
	var c backfillCommand
	at := l.command("backfill", "Import an older window beside the schedule.", backfillHelp,
		func(ctx context.Context, _ []string) error { return c.Run(ctx, l.settings, l.con) })
	flags := at.Flags()
	flags.StringVar(&c.From, "from", "", "Where the window begins, a `TIME`: a date, a time, or a duration before now, as THREATMATCH_IMPORT_FROM_DATE takes it.")
	flags.StringVar(&c.To, "to", "", "Where it ends, a `TIME`. Default: where the schedule's import of each dataset began.")
	datasetFlag(at, &c.Dataset, "Import `NAMES` of profiles, alerts, reports and iocs. Default: those of the configuration.")
	flags.BoolVar(&c.Status, "status", false, "Show the backfill under way: once, or on a terminal and without --json until it ends.")
	flags.BoolVar(&c.Cancel, "cancel", false, "End the backfill under way. What it has brought stays.")
	flags.BoolVar(&c.Detach, "detach", false, "Give the order to the connector that runs, and leave.")
	flags.BoolVar(&c.JSON, "json", false, "Print JSON objects, a line each, for scripts.")
	return at
}

// validate refuses what makes no sense.
func (c backfillCommand) validate() error {
	if asked := slices.DeleteFunc([]bool{c.From != "", c.Status, c.Cancel}, func(is bool) bool { return !is }); len(asked) != 1 {
		return errors.New("backfill wants one of --from, --status and --cancel")
	}
	if (c.Status || c.Cancel) && (c.To != "" || len(c.Dataset) > 0 || c.Detach) {
		return errors.New("--to, --dataset and --detach are for an order, with --from; --status and --cancel mean the backfill under way")
	}
	order, err := c.order(time.Now())
	if err == nil && !order.To.IsZero() && !order.From.Before(order.To) {
		return fmt.Errorf("the window ends before it begins: --to is %s, --from is %s", order.To.Format(time.RFC3339), order.From.Format(time.RFC3339))
	}
	return err
}

// Run gives the order, and shows what becomes of it.
func (c backfillCommand) Run(ctx context.Context, settings settingsFlag, con console) error {
	if err := c.validate(); err != nil {
		return usageError{err}
	}
	cfg, warnings, err := settings.load(con)
	if err != nil {
		con.warn(warnings)
		return err
	}
	client := orders.NewClient(cfg.Connector.StateDir)
	defer client.Close()
	order, err := c.order(time.Now())
	if err != nil {
		return err
	}
	var p orders.Progress
	switch {
	case c.Cancel:
		p, err = client.Cancel(ctx)
	case c.Status:
		p, err = client.Progress(ctx)
	default:
		p, err = client.Backfill(ctx, order)
		if errors.Is(err, orders.ErrNobody) && !c.Detach {
			return c.alone(ctx, cfg, order, con)
		}
		if err == nil {
			tellCovered(con.stderr, order, p)
		}
	}
	switch {
	case errors.Is(err, orders.ErrNobody) && c.Cancel:
		p, err = connector.CancelBackfill(ctx, cfg, status.NewLogger(cfg, con.stderr), connector.Options{Version: versionText()})
		if err != nil {
			return err
		}
		return c.show(con.stdout, p)
	case errors.Is(err, orders.ErrNobody) && c.Status:
		return c.held(ctx, cfg, con)
	case errors.Is(err, orders.ErrNobody):
		return fmt.Errorf("%w with the folder %s (CONNECTOR_STATE_DIR); start it, or run the command where it runs, as with docker exec", err, cfg.Connector.StateDir)
	case err != nil:
		return err
	case c.Cancel, c.Detach, c.Status && (p.Phase.Over() || c.JSON || !con.isWatched()):
		return c.show(con.stdout, p)
	}
	shown, _ := c.watcher(con)
	last, err := client.Watch(ctx, shown.Show)
	shown.Close()
	if ctx.Err() != nil {
		fmt.Fprintln(con.stderr, "the connector goes on with the backfill; `backfill --status` shows it again, `backfill --cancel` ends it")
		return nil
	}
	switch {
	case errors.Is(err, orders.ErrNobody) && c.Status:
		return c.held(ctx, cfg, con)
	case errors.Is(err, orders.ErrNobody):
		return errors.New("the connector has ended before the backfill has; `backfill --status` tells how far it is and when it goes on")
	case err != nil:
		return err
	}
	return c.conclude(con.stdout, shown, p, last)
}

// held shows what OpenCTI holds of a backfill, for want of a connector that could tell.
func (c backfillCommand) held(ctx context.Context, cfg config.Config, con console) error {
	fmt.Fprintf(con.stderr, "no connector takes orders with the folder %s (CONNECTOR_STATE_DIR); asking OpenCTI\n", cfg.Connector.StateDir)
	p, err := connector.HeldBackfill(ctx, cfg, status.NewLogger(cfg, con.stderr), connector.Options{Version: versionText()})
	if err != nil {
		return err
	}
	return c.show(con.stdout, p)
}

// tellCovered says that an order was taken for the backfill under way, of a wider window or more datasets.
func tellCovered(out io.Writer, order orders.Backfill, p orders.Progress) {
	if p.Covers(order) {
		fmt.Fprintf(out, "a backfill of %s from %s to %s is under way and covers the one ordered; going on with it\n", strings.Join(p.Left, ", "), p.From.UTC().Format(time.RFC3339), p.To.UTC().Format(time.RFC3339))
	}
}

// order is what the flags say. Without datasets it is for those of the connector.
func (c backfillCommand) order(now time.Time) (orders.Backfill, error) {
	order := orders.Backfill{Datasets: c.Dataset}
	for _, at := range []struct {
		flag, text string
		into       *time.Time
	}{{"--from", c.From, &order.From}, {"--to", c.To, &order.To}} {
		if at.text == "" {
			continue
		}
		start, err := config.ParseStart(at.text, now)
		if err != nil {
			return order, fmt.Errorf("%s: %w", at.flag, err)
		}
		*at.into = start.From(now)
	}
	return order, nil
}

// alone does the backfill in this process, for want of a connector that runs.
func (c backfillCommand) alone(ctx context.Context, cfg config.Config, order orders.Backfill, con console) error {
	connector.LimitMemory(cfg)
	fmt.Fprintln(con.stderr, "no connector takes orders with this CONNECTOR_STATE_DIR; importing here")
	shown, stderr := c.watcher(con)
	var taken *orders.Progress
	show := func(p orders.Progress) {
		if taken == nil {
			taken = &p
			tellCovered(stderr, order, p)
			return
		}
		shown.Show(p)
	}
	lines := con.logsTo(stderr)
	p, err := connector.Backfill(ctx, cfg, status.NewLogger(cfg, lines), connector.Options{
		Version: versionText(), Notices: status.NewNotices(cfg, lines),
	}, order, show)
	shown.Close()
	switch {
	case ctx.Err() != nil && p.Phase != orders.Done:
		return fmt.Errorf("%w; the same command goes on from where it got", context.Cause(ctx))
	case err != nil:
		return err
	}
	return c.conclude(con.stdout, shown, *taken, p)
}

// conclude prints what has become of a backfill that was shown from its first to its last. As JSON that is the last of the objects,
// which is there already if its phase has been shown. Where it was ordered the error says why it is not done.
func (c backfillCommand) conclude(out io.Writer, shown *orders.Watcher, first, last orders.Progress) error {
	if c.JSON {
		shown.Show(last)
	} else if err := c.show(out, last); err != nil {
		return err
	}
	if c.Status {
		return nil
	}
	return undone(first, last)
}

// undone says what keeps a backfill that was ordered from being done, all of it, and what to do about it: a script that waited for it
// goes on if nothing does.
func undone(ordered, last orders.Progress) error {
	switch {
	case last.Phase == orders.Cancelled:
		return errors.New("the backfill was cancelled before it was done; the same command orders it again")
	case last.Phase != orders.Done:
		return errors.New("the backfill was forgotten with the connector's state in OpenCTI; order it again")
	case !last.From.Equal(ordered.From), !last.To.Equal(ordered.To):
		return errors.New("another backfill was ordered in its place meanwhile; the same command orders it again")
	case last.Failure != "":
		return fmt.Errorf("the backfill is done, but for what could not be read, which the schedule tries again: %s", last.Failure)
	}
	return nil
}

// show prints what has become of a backfill.
func (c backfillCommand) show(out io.Writer, p orders.Progress) error {
	if c.JSON {
		return json.NewEncoder(out).Encode(p)
	}
	_, err := fmt.Fprintln(out, p)
	return err
}

// watcher shows a backfill as it gets on, until it is closed. stderr is where lines do not get in the way of that.
func (c backfillCommand) watcher(con console) (shown *orders.Watcher, stderr io.Writer) {
	if c.JSON {
		return orders.NewWatcher(con.stdout, orders.JSON), con.stderr
	}
	if isTerminal(con.stderr) {
		shown = orders.NewWatcher(con.stderr, orders.Live)
		return shown, shown
	}
	return orders.NewWatcher(con.stderr, orders.Lines), con.stderr
}
