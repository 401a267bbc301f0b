package main

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/connector"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"
)

type runCommand struct{}

// Run runs the connector until it is told to stop.
func (runCommand) Run(ctx context.Context, settings settingsFlag, con console) error {
	cfg, warnings, err := settings.load(con)
	if err != nil {
		con.warn(warnings) // a misspelled variable may be why another is not set
		return err
	}
	limitMemory(uint64(cfg.Connector.Memory) << 20)
	log := status.NewLogger(cfg, con.stderr)
	notices := status.NewNotices(cfg, con.stderr)
	for _, w := range warnings {
		notices.Warn(string(w))
	}
	log.Info("starting", zap.String("version", versionText()))
	if err := connector.Run(ctx, cfg, log, connector.Options{Version: versionText(), Notices: notices}); err != nil {
		log.Error("stopped", zap.Error(err))
		return fmt.Errorf("%w: %w", errLogged, err)
	}
	log.Info("stopped")
	return nil
}
