package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/check"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
)

type checkCommand struct{ JSON bool }

const checkHelp = `Looks at the configuration, ThreatMatch, OpenCTI, RabbitMQ and the state folder, a line each: ✔ is
well, ✘ has to be mended, ! is to be minded, – could not be tried. Nothing is registered, declared,
published or written. The exit status is 0 when there is no ✘, 1 when there is one, and 2 when it is
the configuration.

Example:

    connector-threatmatch check --config /etc/threatmatch.yml
    connector-threatmatch check --json | jq '.[] | select(.status == "failed")'`

func (l *commandLine) check() *cobra.Command {
	var c checkCommand
	at := l.command("check", "Check everything that the connector needs before its first run; nothing is changed.", checkHelp,
		func(ctx context.Context, _ []string) error { return c.Run(ctx, l.settings, l.con) })
	at.Flags().BoolVar(&c.JSON, "json", false, "Print a JSON array, for scripts.")
	return at
}

// Run checks everything that the connector needs before its first run.
func (c checkCommand) Run(ctx context.Context, settings settingsFlag, con console) error {
	cfg, warnings, misread := settings.load(con)
	if misread != nil {
		path, explicit := settings.path()
		cfg, _ = config.LoadPartly(path, explicit, con.environ) // what is wrong with it is known
	}
	findings := check.Configuration(cfg, warnings, misread)
	if misread == nil {
		findings = append(findings, check.Run(ctx, cfg, versionText())...)
	}
	write := check.Write
	if c.JSON {
		write = check.WriteJSON
	}
	if err := write(con.stdout, findings); err != nil {
		return fmt.Errorf("print what was found: %w", err)
	}
	if misread != nil {
		return errMisconfigured
	}
	return check.Cause(findings)
}

var errMisconfigured = misconfigured{errors.New("the configuration is wrong")}

// misconfigured ends the program as a configuration that is wrong does, where that was told of already.
type misconfigured struct{ error }

// ExitCode is the exit status.
func (misconfigured) ExitCode() int { return exitUsage }
