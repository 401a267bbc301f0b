package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
)

// configCommand is what can be known of the configuration without connecting to anything.
type configCommand struct {
	Check  configCheckCommand  `cmd:"" help:"Validate the configuration; connects to nothing."`
	Show   configShowCommand   `cmd:"" help:"Show each setting as it counts, and where it comes from; secrets are masked."`
	Sample configSampleCommand `cmd:"" help:"Print a configuration to fill in."`
	Schema configSchemaCommand `cmd:"" help:"Print the JSON Schema of the environment or of config.yml."`
	Docs   configDocsCommand   `cmd:"" hidden:"" help:"Print the settings as the README or OpenCTI's catalogue has them."`
}

type configCheckCommand struct {
	JSON bool `name:"json" help:"Print problems and warnings as JSON."`
}

// Help shows how it is used.
func (configCheckCommand) Help() string {
	return "Exit status 2 means that something has to be mended; warnings leave it at 0.\n\n" +
		"Example: connector-threatmatch config check --config /etc/threatmatch.yml"
}

// Run validates the configuration.
func (c configCheckCommand) Run(settings settingsFlag, con console) error {
	cfg, warnings, err := settings.load(con)
	var wrong *config.Error
	if err != nil && !errors.As(err, &wrong) {
		return err
	}
	warnings = append(warnings, config.StateDirWarnings(cfg)...)
	if c.JSON {
		return errors.Join(con.printJSON(struct {
			Valid bool `json:"valid"`
			findings
		}{err == nil, findingsOf(warnings, wrong)}), err)
	}
	con.warn(warnings)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(con.stdout, "the configuration is valid")
	return err
}

type configSampleCommand struct {
	Format string `enum:"env,compose,yaml" default:"yaml" help:"One of env (a .env file), compose (a Docker Compose file), yaml (config.yml)."`
}

// Help shows how it is used.
func (configSampleCommand) Help() string {
	return "What is required says ChangeMe, everything else is commented out with its default.\n\n" +
		"Example: connector-threatmatch config sample --format yaml > config.yml"
}

// Run prints a sample.
func (c configSampleCommand) Run(con console) error {
	forms := map[string]func() string{"env": config.SampleEnv, "compose": config.SampleCompose, "yaml": config.SampleYAML}
	_, err := io.WriteString(con.stdout, forms[c.Format]())
	return err
}

type configSchemaCommand struct {
	For string `enum:"env,yaml" default:"env" help:"One of env (the environment variables, as OpenCTI's catalogue has them), yaml (config.yml)."`
}

// Help shows how it is used.
func (configSchemaCommand) Help() string {
	return "Editors check config.yml while it is written when its first line is\n" +
		"`# yaml-language-server: $schema=config.schema.json`.\n\n" +
		"Example: connector-threatmatch config schema --for yaml > config.schema.json"
}

// Run prints the JSON Schema.
func (c configSchemaCommand) Run(con console) error {
	forms := map[string]func() []byte{"env": config.Schema, "yaml": config.FileSchema}
	_, err := con.stdout.Write(forms[c.For]())
	return err
}

type configDocsCommand struct {
	Form string `arg:"" optional:"" default:"table" enum:"table,catalogue" help:"One of table, catalogue."`
}

// Run prints the settings in one of the forms that the documentation has.
func (c configDocsCommand) Run(con console) error {
	forms := map[string]func() string{"table": config.Table, "catalogue": config.CatalogueTable}
	_, err := io.WriteString(con.stdout, forms[c.Form]())
	return err
}

// findings are what is wrong with a configuration, and what its operator should know.
type findings struct {
	Problems []string `json:"problems"`
	Warnings []string `json:"warnings"`
}

func findingsOf(warnings []config.Warning, wrong *config.Error) findings {
	f := findings{Problems: []string{}, Warnings: []string{}}
	if wrong != nil {
		for _, p := range wrong.Problems {
			f.Problems = append(f.Problems, p.String())
		}
	}
	for _, w := range warnings {
		f.Warnings = append(f.Warnings, string(w))
	}
	return f
}

// warn prints warnings for people.
func (c console) warn(warnings []config.Warning) {
	for _, w := range warnings {
		fmt.Fprintln(c.stderr, "warning:", w)
	}
}

// printJSON prints a value for scripts.
func (c console) printJSON(value any) error {
	enc := json.NewEncoder(c.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(value)
}
