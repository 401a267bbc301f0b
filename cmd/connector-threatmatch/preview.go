package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/connector"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/preview"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"
)

const previewHelp = `Nothing is published: neither OpenCTI nor RabbitMQ is called, and of CONNECTOR_STATE_DIR only the history of runs is
read, so it can run beside the connector. Both read with the same account of ThreatMatch, whose limit of calls they share; a preview
makes at most THREATMATCH_RATE_LIMIT calls a second.

It lists what the window holds and reads a part of it, from which it works out the rest: such figures are marked
with ~. The exit status is 1 when something could not be read.

Example:

    connector-threatmatch preview --from P7D
    connector-threatmatch preview --from 2025-01-01 --to 2025-02-01 --dataset profiles --all --output ./january
    connector-threatmatch preview --json | jq .import`

func (l *commandLine) preview() *cobra.Command {
	var o preview.Options
	at := l.command("preview", "Tell what a window holds and what importing it takes; nothing is sent.", previewHelp,
		func(ctx context.Context, _ []string) error { return runPreview(ctx, o, l.settings, l.con) })
	flags := at.Flags()
	flags.StringVar(&o.From, "from", "", "Begin of the window, `WHEN`: a duration before now (P30D), a date or a time. Default: THREATMATCH_IMPORT_FROM_DATE.")
	flags.StringVar(&o.To, "to", "", "End of the window, `WHEN` in the same form. Default: there is none, as in a run.")
	datasetFlag(at, &o.Dataset, "Look at `NAMES` of profiles, alerts, reports and iocs, also where the configuration switches them off.")
	flags.IntVar(&o.Items, "items", 200, "Read `N` items of each dataset of items, spread evenly over the window.")
	flags.IntVar(&o.Pages, "pages", 20, "Read `N` pages of indicators: half of them in a row, the others spread over the rest of the window.")
	flags.BoolVar(&o.All, "all", false, "Read everything: that takes as long, and as many calls, as the import.")
	file(at, flags, &o.Output, "output", "", "Write what was read, as it would be sent, as STIX bundles to `DIR`, a folder that is empty or not there yet.")
	flags.IntVar(&o.Sample, "sample", 3, "Show `N` objects as they would be sent.")
	flags.BoolVar(&o.JSON, "json", false, "Print JSON.")
	progressFlag(flags, &o.Progress, "Do not show on standard error how it gets on.")
	return at
}

// runPreview tells what an import would bring.
func runPreview(ctx context.Context, o preview.Options, settings settingsFlag, con console) error {
	if err := o.Validate(); err != nil {
		return usageError{err}
	}
	cfg, warnings, err := settings.load(con)
	if err != nil {
		return err
	}
	connector.LimitMemory(cfg)
	log := status.NewLogger(cfg, con.stderr)
	for _, w := range warnings {
		log.Warn(string(w))
	}
	return preview.Run(ctx, o, cfg, preview.Host{Version: versionText(), Stdout: con.stdout, Stderr: con.stderr})
}
