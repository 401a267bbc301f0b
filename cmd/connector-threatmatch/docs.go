package main

import (
	"io"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
)

type schemaCommand struct{}

// Run prints the JSON Schema.
func (schemaCommand) Run(con console) error {
	_, err := con.stdout.Write(config.Schema())
	return err
}

type docsCommand struct {
	Form string `arg:"" optional:"" default:"table" enum:"table,catalogue,env,compose,yaml" help:"One of table, catalogue, env, compose, yaml."`
}

// Run prints the settings in one of the forms that the documentation and the samples have.
func (c docsCommand) Run(con console) error {
	forms := map[string]func() string{
		"table": config.Table, "catalogue": config.CatalogueTable,
		"env": config.SampleEnv, "compose": config.SampleCompose, "yaml": config.SampleYAML,
	}
	_, err := io.WriteString(con.stdout, forms[c.Form]())
	return err
}
