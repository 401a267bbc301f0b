package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/sandbox"
)

const sandboxHelp = `Example:

    connector-threatmatch sandbox --indicators 100000
    connector-threatmatch sandbox --serve`

func (l *commandLine) sandbox() *cobra.Command {
	var o sandbox.Options
	at := l.command("sandbox", "Run the connector against a simulated ThreatMatch, OpenCTI and RabbitMQ.", sandboxHelp,
		func(ctx context.Context, _ []string) error { return runSandbox(ctx, o, l.con) })
	flags := at.Flags()
	file(at, flags, &o.Data, "data", "", "Serve profiles.ndjson, alerts.ndjson and indicators.ndjson of the folder `DIR` (.gz too) instead of generated intelligence.")
	flags.StringVar(&o.RabbitMQ, "rabbitmq", "", "Use a real broker, at a `URL` like amqp://guest:guest@localhost:5672/.")
	file(at, flags, &o.Messages, "messages", "", "Write what arrives in the queue to `FILE`, a STIX object a line.")
	flags.BoolVar(&o.Serve, "serve", false, "Do not run the connector: keep the simulators up and print the environment for one in a second terminal.")
	flags.Float64Var(&o.Imports, "imports", 0, "Have OpenCTI's workers import `N` messages a second, with --serve. Default: none.")
	flags.IntVar(&o.Profiles, "profiles", 150, "Generate `N` profiles.")
	flags.IntVar(&o.Alerts, "alerts", 150, "Generate `N` alerts.")
	flags.IntVar(&o.Reports, "reports", 0, "Generate `N` reports. Default: none.")
	flags.IntVar(&o.Indicators, "indicators", 5000, "Generate `N` indicators.")
	flags.Uint64Var(&o.Seed, "seed", 1, "Seed of the generator: the same `N` gives the same intelligence.")
	flags.DurationVar(&o.Latency, "latency", 0, "`TIME` that ThreatMatch takes for an answer, like 50ms. Default: none.")
	flags.IntVar(&o.PageSize, "page-size", 100, "Put `N` indicators on a page.")
	progressFlag(flags, &o.Progress, "Do not show how the run gets on.")
	return at
}

// runSandbox runs the connector in the sandbox.
func runSandbox(ctx context.Context, o sandbox.Options, con console) error {
	if err := o.Validate(); err != nil {
		return usageError{err}
	}
	return sandbox.Run(ctx, o, sandbox.Host{
		Version: versionText(), Environ: con.environ, Stdout: con.stdout, Stderr: con.stderr,
	})
}
