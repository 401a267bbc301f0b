package main

import (
	"context"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/sandbox"
)

type sandboxCommand struct{ sandbox.Options }

// Help is what sandbox --help says besides its flags.
func (sandboxCommand) Help() string {
	return `Example:

    connector-threatmatch sandbox --indicators 100000
    connector-threatmatch sandbox --serve`
}

// Run runs the connector in the sandbox.
func (c sandboxCommand) Run(ctx context.Context, con console) error {
	return sandbox.Run(ctx, c.Options, sandbox.Host{
		Version: versionText(), Environ: con.environ, Stdout: con.stdout, Stderr: con.stderr,
	})
}
