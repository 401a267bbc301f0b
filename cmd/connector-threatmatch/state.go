package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/connector"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/heldstate"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/remotes"
)

type stateCommand struct {
	Show     stateShowCommand   `cmd:"" help:"Show where each dataset is, what failed, and whether the connector runs."`
	Reset    stateResetCommand  `cmd:"" help:"Forget the state and empty the queue, as the reset in OpenCTI does; the connector may run."`
	SetSince stateSinceCommand  `cmd:"" help:"Move where a dataset is read from; the connector must be stopped."`
	Export   stateExportCommand `cmd:"" help:"Write the state to a new file, or to the standard output."`
	Import   stateImportCommand `cmd:"" help:"Store an exported state; the connector must be stopped."`
}

// resultFlag is the flag of the commands with a result for programs.
type resultFlag struct {
	JSON bool `name:"json" help:"Write the result as JSON."`
}

// consentFlags are the flags of the commands that change something.
type consentFlags struct {
	resultFlag
	Yes bool `short:"y" help:"Do not ask."`
}

// forceFlag is the flag of the commands that want the connector stopped.
type forceFlag struct {
	Force bool `help:"Go ahead though OpenCTI has heard of the connector within five minutes; only for one that is surely stopped."`
}

type stateShowCommand struct{ resultFlag }

// Help shows an example.
func (stateShowCommand) Help() string { return "Example: connector-threatmatch state show --json" }

// Run shows the state.
func (c stateShowCommand) Run(ctx context.Context, settings settingsFlag, con console) error {
	return atDesk(settings, con, func(d *heldstate.Desk) error {
		d.JSON = c.JSON
		return d.Show(ctx)
	})
}

type stateResetCommand struct{ consentFlags }

// Help shows an example.
func (stateResetCommand) Help() string {
	return "Needs the capability to manage connector state (MODULES_MODMANAGE).\n\nExample: connector-threatmatch state reset --yes"
}

// Run resets the connector.
func (c stateResetCommand) Run(ctx context.Context, settings settingsFlag, con console) error {
	return atDesk(settings, con, func(d *heldstate.Desk) error {
		d.JSON, d.Yes = c.JSON, c.Yes
		return d.Reset(ctx)
	})
}

type stateSinceCommand struct {
	consentFlags
	forceFlag
	Dataset string `arg:"" enum:"profiles,alerts,reports,iocs" help:"profiles, alerts, reports or iocs."`
	Time    string `arg:"" help:"A date (2025-04-17), a time (2025-04-17T15:24:00Z) or a duration before now (P30D)."`
}

// Help shows an example.
func (stateSinceCommand) Help() string {
	return "A pass under way begins again there; items that failed stay owed. Objects delivered already are not sent again.\n\n" +
		"Example: connector-threatmatch state set-since alerts P30D"
}

// Validate refuses what is no time; the command line's parser calls it.
func (c stateSinceCommand) Validate() error {
	_, err := config.ParseStart(c.Time, time.Now())
	return err
}

// Run moves where a dataset is read from.
func (c stateSinceCommand) Run(ctx context.Context, settings settingsFlag, con console) error {
	now := time.Now()
	start, err := config.ParseStart(c.Time, now)
	if err != nil {
		return err
	}
	return atDesk(settings, con, func(d *heldstate.Desk) error {
		d.JSON, d.Yes, d.Force = c.JSON, c.Yes, c.Force
		return d.SetSince(ctx, c.Dataset, start.From(now).Truncate(time.Second))
	})
}

type stateExportCommand struct {
	File string `arg:"" optional:"" placeholder:"FILE" help:"The file, which must not exist."`
}

// Help shows an example.
func (stateExportCommand) Help() string {
	return "Example: connector-threatmatch state export state.json"
}

// Run exports the state.
func (c stateExportCommand) Run(ctx context.Context, settings settingsFlag, con console) error {
	return atDesk(settings, con, func(d *heldstate.Desk) error { return d.Export(ctx, c.File) })
}

type stateImportCommand struct {
	consentFlags
	forceFlag
	File string `arg:"" placeholder:"FILE" help:"What state export has written."`
}

// Help shows an example.
func (stateImportCommand) Help() string {
	return "Where the datasets are comes from the file; whose the state is, its index and the works under way stay.\n\n" +
		"Example: connector-threatmatch state import state.json"
}

// Run imports a state.
func (c stateImportCommand) Run(ctx context.Context, settings settingsFlag, con console) error {
	return atDesk(settings, con, func(d *heldstate.Desk) error {
		d.JSON, d.Yes, d.Force = c.JSON, c.Yes, c.Force
		return d.Import(ctx, c.File)
	})
}

// atDesk does something with the state of the configured connector.
func atDesk(settings settingsFlag, con console, do func(*heldstate.Desk) error) error {
	cfg, warnings, err := settings.load(con)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		fmt.Fprintln(con.stderr, "warning:", w)
	}
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
		StateDir: cfg.Connector.StateDir, Ask: asking(os.Stdin, con.stderr), Out: con.stdout, Words: con.stderr,
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
