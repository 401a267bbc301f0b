package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
)

type configShowCommand struct{ Explain, JSON bool }

const configShowHelp = `Secrets are masked, so the output can be shown to others. Exit status 2 means that something has to
be mended.

Example: connector-threatmatch config show --explain`

func (l *commandLine) configShow() *cobra.Command {
	var c configShowCommand
	at := l.command("show", "Show each setting as it counts, and where it comes from; secrets are masked.", configShowHelp,
		func(context.Context, []string) error { return c.Run(l.settings, l.con) })
	at.Flags().BoolVar(&c.Explain, "explain", false, "Say what each setting is for, and what is allowed.")
	at.Flags().BoolVar(&c.JSON, "json", false, "Print settings, problems and warnings as JSON.")
	return at
}

// Run shows the settings.
func (c configShowCommand) Run(settings settingsFlag, con console) error {
	path, explicit := settings.path()
	shown, warnings, err := config.Show(path, explicit, con.environ)
	var wrong *config.Error
	if err != nil && !errors.As(err, &wrong) {
		return err
	}
	if c.JSON {
		return errors.Join(con.printJSON(struct {
			Settings []config.Effective `json:"settings"`
			findings
		}{shown, findingsOf(warnings, wrong)}), err)
	}
	if len(shown) > 0 {
		if failed := printSettings(con.stdout, shown, c.Explain); failed != nil {
			return failed
		}
	}
	con.warn(warnings)
	return err
}

// printSettings prints a line for each setting, and with explain what it is for.
func printSettings(out io.Writer, shown []config.Effective, explain bool) error {
	if explain {
		for _, s := range shown {
			if _, err := fmt.Fprintf(out, "%s = %s (%s)\n    %s\n    Must be %s.\n", s.Name, valueText(s.Value), sourceText(s), s.About, s.Allowed); err != nil {
				return err
			}
		}
		return nil
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SETTING\tFROM\tVALUE") // which may be of any length
	for _, s := range shown {
		fmt.Fprintf(table, "%s\t%s\t%s\n", s.Name, sourceText(s), valueText(s.Value))
	}
	return table.Flush()
}

// sourceText says where a value comes from. A variable is named where its name is not that of the setting.
func sourceText(s config.Effective) string {
	switch from := s.Source; {
	case from.Kind == config.FromFile:
		return fmt.Sprintf("%s:%d", from.File, from.Line)
	case from.Kind == config.FromSecretFile:
		return from.File + ", " + from.Variable
	case from.Kind == config.FromEnvironment && from.Variable != s.Name:
		return "environment, " + from.Variable
	default:
		return string(from.Kind)
	}
}

// valueText is a value on one line.
func valueText(value string) string {
	switch {
	case value == "":
		return "-"
	case strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }):
		return strconv.Quote(value)
	}
	return value
}
