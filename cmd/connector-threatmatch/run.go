package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/connector"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"
)

const runHelp = `Imports what has changed, again and again (CONNECTOR_DURATION_PERIOD), until it is told to
stop; with CONNECTOR_RUN_AND_TERMINATE=true once, with exit status 0 when everything was
delivered, else 1. Status 2 is a wrong configuration. SIGINT or SIGTERM lets it settle what is
under way, a second one a second later or more ends it at once.

Example:

    connector-threatmatch run --config /etc/threatmatch.yml
    CONNECTOR_LOG_LEVEL=info connector-threatmatch`

func (l *commandLine) run() *cobra.Command {
	return l.command("run", "Run the connector (what happens without a command).", runHelp,
		func(ctx context.Context, _ []string) error { return runConnector(ctx, l.settings, l.con) })
}

// runConnector runs the connector until it is told to stop.
func runConnector(ctx context.Context, settings settingsFlag, con console) error {
	cfg, warnings, err := settings.load(con)
	if err != nil {
		con.warn(warnings) // a misspelled variable may be why another is not set
		return err
	}
	opts := connector.Options{Version: versionText()}
	connector.LimitMemory(cfg)
	lines := con.logsTo(con.stderr)
	if bars := con.bars(cfg.Connector.RunOnce()); bars != nil {
		defer bars.Close()
		lines, opts.Progress = con.logsTo(bars), bars // log lines go above them
	}
	log, notices := status.NewLogger(cfg, lines), status.NewNotices(cfg, lines)
	opts.Notices = notices
	for _, w := range warnings {
		notices.Warn(string(w))
	}
	log.Info("starting", zap.String("version", versionText()))
	if err := connector.Run(ctx, cfg, log, opts); err != nil {
		log.Error("stopped", zap.Error(err))
		return fmt.Errorf("%w: %w", errLogged, err)
	}
	log.Info("stopped")
	return nil
}
