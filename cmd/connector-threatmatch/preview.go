package main

import (
	"context"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/preview"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"
)

type previewCommand struct{ preview.Options }

// Help is what --help says beside the flags.
func (previewCommand) Help() string {
	return `Nothing is published: neither OpenCTI nor RabbitMQ is called, and of CONNECTOR_STATE_DIR only the history of runs is
read, so it can run beside the connector. Both read with the same account of ThreatMatch, whose limit of calls they share; a preview
makes at most THREATMATCH_RATE_LIMIT calls a second.

It lists what the window holds and reads a part of it, from which it works out the rest: such figures are marked
with ~. The exit status is 1 when something could not be read.

  connector-threatmatch preview --from P7D
  connector-threatmatch preview --from 2025-01-01 --to 2025-02-01 --dataset profiles --all --output ./january
  connector-threatmatch preview --json | jq .import`
}

// Run tells what an import would bring.
func (c previewCommand) Run(ctx context.Context, settings settingsFlag, con console) error {
	cfg, warnings, err := settings.load(con)
	if err != nil {
		return err
	}
	limitMemory(uint64(cfg.Connector.Memory) << 20)
	log := status.NewLogger(cfg, con.stderr)
	for _, w := range warnings {
		log.Warn(string(w))
	}
	return preview.Run(ctx, c.Options, cfg, preview.Host{Version: versionText(), Stdout: con.stdout, Stderr: con.stderr})
}
