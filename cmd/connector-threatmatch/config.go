package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
)

// config is what can be known of the configuration without connecting to anything.
func (l *commandLine) config() *cobra.Command {
	return l.group("config", "Validate, show and describe the configuration.", l.configCheck(), l.configShow(), l.configSample(), l.configSchema(), l.configDocs())
}

type configCheckCommand struct{ JSON bool }

const configCheckHelp = `Exit status 2 means that something has to be mended; warnings leave it at 0.

Example: connector-threatmatch config check --config /etc/threatmatch.yml`

func (l *commandLine) configCheck() *cobra.Command {
	var c configCheckCommand
	at := l.command("check", "Validate the configuration; connects to nothing.", configCheckHelp,
		func(context.Context, []string) error { return c.Run(l.settings, l.con) })
	at.Flags().BoolVar(&c.JSON, "json", false, "Print problems and warnings as JSON.")
	return at
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

const configSampleHelp = `What is required says ChangeMe, everything else is commented out with its default.

Example: connector-threatmatch config sample --format yaml > config.yml`

func (l *commandLine) configSample() *cobra.Command {
	format := "yaml"
	forms := map[string]func() string{"env": config.SampleEnv, "compose": config.SampleCompose, "yaml": config.SampleYAML}
	at := l.command("sample", "Print a configuration to fill in.", configSampleHelp, func(context.Context, []string) error {
		_, err := io.WriteString(l.con.stdout, forms[format]())
		return err
	})
	choice(at, &format, "format", "`FORMAT` is one of env (a .env file), compose (a Docker Compose file), yaml (config.yml).", "env", "compose", "yaml")
	return at
}

const configSchemaHelp = `Editors check config.yml while it is written when its first line is
` + "`# yaml-language-server: $schema=config.schema.json`" + `.

Example: connector-threatmatch config schema --for yaml > config.schema.json`

func (l *commandLine) configSchema() *cobra.Command {
	of := "env"
	forms := map[string]func() []byte{"env": config.Schema, "yaml": config.FileSchema}
	at := l.command("schema", "Print the JSON Schema of the environment or of config.yml.", configSchemaHelp, func(context.Context, []string) error {
		_, err := l.con.stdout.Write(forms[of]())
		return err
	})
	choice(at, &of, "for", "`WHAT` is one of env (the environment variables, as OpenCTI's catalogue has them), yaml (config.yml).", "env", "yaml")
	return at
}

// configDocs prints the settings in one of the forms that the documentation has.
func (l *commandLine) configDocs() *cobra.Command {
	forms := map[string]func() string{"table": config.Table, "catalogue": config.CatalogueTable}
	at := l.command("docs [FORM]", "Print the settings as the README (table) or OpenCTI's catalogue (catalogue) has them.", "", func(_ context.Context, args []string) error {
		form, err := word("FORM", append(args, "table")[0], []string{"table", "catalogue"})
		if err != nil {
			return err
		}
		_, err = io.WriteString(l.con.stdout, forms[form]())
		return err
	})
	at.Hidden = true
	return at
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
