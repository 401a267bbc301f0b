package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/connector"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/heldstate"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/remotes"
)

// state is what can be done with the connector's state in OpenCTI.
func (l *commandLine) state() *cobra.Command {
	return l.group("state", "Show, reset, move, export or import the connector's state in OpenCTI.",
		l.stateShow(), l.stateReset(), l.stateSetSince(), l.stateExport(), l.stateImport())
}

// deskFlags are the flags of the commands that work on the state. Each has some of them.
type deskFlags struct{ json, yes, force bool }

// result adds the flag of the commands with a result for programs.
func (f *deskFlags) result(flags *pflag.FlagSet) {
	flags.BoolVar(&f.json, "json", false, "Write the result as JSON.")
}

// consent adds the flags of the commands that change something.
func (f *deskFlags) consent(flags *pflag.FlagSet) {
	f.result(flags)
	flags.BoolVarP(&f.yes, "yes", "y", false, "Do not ask.")
}

// stopped adds the flags of those that want the connector stopped as well.
func (f *deskFlags) stopped(flags *pflag.FlagSet) {
	f.consent(flags)
	flags.BoolVar(&f.force, "force", false, "Go ahead though OpenCTI has heard of the connector within five minutes; only for one that is surely stopped.")
}

func (l *commandLine) stateShow() *cobra.Command {
	var f deskFlags
	at := l.command("show", "Show where each dataset is, what failed, and whether the connector runs.", "Example: connector-threatmatch state show --json",
		func(ctx context.Context, _ []string) error {
			return l.atDesk(f, func(d *heldstate.Desk) error { return d.Show(ctx) })
		})
	f.result(at.Flags())
	return at
}

const stateResetHelp = `Needs the capability to manage connector state (MODULES_MODMANAGE).

Example: connector-threatmatch state reset --yes`

func (l *commandLine) stateReset() *cobra.Command {
	var f deskFlags
	at := l.command("reset", "Forget the state and empty the queue, as the reset in OpenCTI does; the connector may run.", stateResetHelp,
		func(ctx context.Context, _ []string) error {
			return l.atDesk(f, func(d *heldstate.Desk) error { return d.Reset(ctx) })
		})
	f.consent(at.Flags())
	return at
}

const stateSetSinceHelp = `DATASET is profiles, alerts, reports or iocs; TIME a date (2025-04-17), a time
(2025-04-17T15:24:00Z) or a duration before now (P30D). A pass under way begins again there; items
that failed stay owed. Objects delivered already are not sent again.

Example: connector-threatmatch state set-since alerts P30D`

func (l *commandLine) stateSetSince() *cobra.Command {
	var f deskFlags
	at := l.command("set-since DATASET TIME", "Move where a dataset is read from; the connector must be stopped.", stateSetSinceHelp,
		func(ctx context.Context, args []string) error {
			dataset, err := word("DATASET", args[0], datasets())
			if err != nil {
				return err
			}
			now := time.Now()
			start, err := config.ParseStart(args[1], now)
			if err != nil {
				return usageError{fmt.Errorf("TIME: %w", err)}
			}
			return l.atDesk(f, func(d *heldstate.Desk) error { return d.SetSince(ctx, dataset, start.From(now).Truncate(time.Second)) })
		})
	at.ValidArgs = datasets()
	f.stopped(at.Flags())
	return at
}

func (l *commandLine) stateExport() *cobra.Command {
	at := l.command("export [FILE]", "Write the state to a new file, or to the standard output.", "Example: connector-threatmatch state export state.json",
		func(ctx context.Context, args []string) error {
			file := strings.Join(args, "") // one at most
			return l.atDesk(deskFlags{}, func(d *heldstate.Desk) error { return d.Export(ctx, file) })
		})
	at.ValidArgsFunction = files
	return at
}

const stateImportHelp = `FILE is what state export has written. Where the datasets are comes from it; whose the state is, its
index and the works under way stay.

Example: connector-threatmatch state import state.json`

func (l *commandLine) stateImport() *cobra.Command {
	var f deskFlags
	at := l.command("import FILE", "Store an exported state; the connector must be stopped.", stateImportHelp,
		func(ctx context.Context, args []string) error {
			return l.atDesk(f, func(d *heldstate.Desk) error { return d.Import(ctx, args[0]) })
		})
	at.ValidArgsFunction = files
	f.stopped(at.Flags())
	return at
}

// atDesk does something with the state of the configured connector.
func (l *commandLine) atDesk(f deskFlags, do func(*heldstate.Desk) error) error {
	cfg, warnings, err := l.settings.load(l.con)
	if err != nil {
		return err
	}
	l.con.warn(warnings)
	keys, err := remotes.NewKeyring(cfg, nil)
	if err != nil {
		return err
	}
	carrier := remotes.ToOpenCTI(cfg, keys)
	platform, err := remotes.OpenCTI(cfg, carrier, nil)
	if err != nil {
		return err
	}
	defer platform.Close()
	return do(&heldstate.Desk{
		Platform: platform, ConnectorID: cfg.Connector.ID, Datasets: connector.Datasets(cfg), ImportFrom: cfg.ThreatMatch.ImportFrom.From(time.Now()).Truncate(time.Second),
		StateDir: cfg.Connector.StateDir, Ask: asking(os.Stdin, l.con.stderr), Out: l.con.stdout, Words: l.con.stderr,
		JSON: f.json, Yes: f.yes, Force: f.force,
	})
}

// asking returns what asks the operator at a terminal, nil where the input is none.
func asking(in *os.File, out io.Writer) func(question string) (string, error) {
	info, err := in.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	return func(question string) (string, error) {
		fmt.Fprint(out, question)
		answer, err := bufio.NewReader(in).ReadString('\n')
		if err != nil {
			fmt.Fprintln(out) // nobody has ended the line
		}
		return answer, err
	}
}
