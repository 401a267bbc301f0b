package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/check"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
)

type checkCommand struct {
	JSON bool `name:"json" help:"Print a JSON array, for scripts."`
}

// Help is what check --help says besides its flags.
func (checkCommand) Help() string {
	return `Looks at the configuration, ThreatMatch, OpenCTI, RabbitMQ and the state folder, a line each: ✔ is well, ✘ has to be ` +
		`mended, ! is to be minded, – could not be tried. Nothing is registered, declared, published or written. The exit status is 0 when there ` +
		`is no ✘, 1 when there is one, and 2 when it is the configuration.

Example:

    connector-threatmatch check --config /etc/threatmatch.yml
    connector-threatmatch check --json | jq '.[] | select(.status == "failed")'`
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
