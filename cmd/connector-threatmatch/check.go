package main

import (
	"fmt"
	"io"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
)

type checkCommand struct {
	Settings bool `help:"List every setting with its default."`
}

// Run validates the configuration.
func (c checkCommand) Run(settings settingsFlag, con console) error {
	if c.Settings {
		_, err := io.WriteString(con.stdout, config.Listing())
		return err
	}
	_, warnings, err := settings.load(con)
	for _, w := range warnings {
		fmt.Fprintln(con.stderr, "warning:", w)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(con.stdout, "the configuration is valid")
	return nil
}
