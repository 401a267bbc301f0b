package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"
)

const healthHelp = `Exit status 1 means that it should be started anew.

Example: docker exec connector-threatmatch connector-threatmatch health`

func (l *commandLine) health() *cobra.Command {
	return l.command("health", "Ask the connector that runs on this machine whether it is well.", healthHelp,
		func(ctx context.Context, _ []string) error { return askHealth(ctx, l.settings, l.con) })
}

// askHealth asks the connector that runs beside it how it is. Without a status address there is nobody to ask, and nothing wrong; the
// rest of the configuration is not its business, for it may be given to the connector in another way.
func askHealth(ctx context.Context, settings settingsFlag, con console) error {
	path, explicit := settings.path()
	cfg, err := config.LoadPartly(path, explicit, con.environ)
	if err != nil {
		return err
	}
	if cfg.Connector.StatusAddress == "" {
		_, err := fmt.Fprintln(con.stdout, "CONNECTOR_STATUS_ADDRESS is off: health is not known")
		return err
	}
	said, err := status.Ask(ctx, cfg.Connector.StatusAddress)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(con.stdout, said)
	return err
}
