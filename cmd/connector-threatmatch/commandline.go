package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// commandLine is what every command shares.
type commandLine struct {
	con         console
	settings    settingsFlag
	showVersion bool
}

func newCommandLine(con console) *commandLine { return &commandLine{con: con} }

// root is the program with all its commands; without one of them it runs the connector.
func (l *commandLine) root() *cobra.Command {
	root := l.run()
	root.Use, root.Short = "connector-threatmatch [COMMAND]", "Imports ThreatMatch intelligence into OpenCTI."
	root.Long = root.Short + " Without a command it runs the connector."
	root.Args = aCommand
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetOut(l.con.stdout)
	root.SetErr(l.con.stderr)
	root.SetFlagErrorFunc(func(at *cobra.Command, err error) error { return usageError{flagProblem(at, err)} })
	root.SetUsageFunc(usage)
	root.SetHelpCommand(&cobra.Command{Hidden: true}) // --help does
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	file(root, root.PersistentFlags(), &l.settings.Config, "config", "c", "`PATH` of the configuration file. Default: config.yml in the working directory, if there is one.")
	root.PersistentFlags().BoolP("help", "h", false, "Show this help.")
	root.PersistentFlags().BoolVar(&l.showVersion, "version", false, "Print the version and exit.")
	root.AddCommand(l.run(), l.sandbox(), l.check(), l.preview(), l.backfill(), l.config(), l.state(), l.health(), l.completion(), l.version())
	return root
}

// command is one of the program's commands. Its usage names its arguments, those that may be left out in brackets.
func (l *commandLine) command(usage, short, long string, run func(ctx context.Context, args []string) error) *cobra.Command {
	return &cobra.Command{
		Use: usage, Short: short, Long: strings.TrimSpace(short + "\n\n" + long), Args: asInUsage,
		RunE: func(at *cobra.Command, args []string) error {
			if l.showVersion {
				return versionCommand{}.Run(l.con)
			}
			return run(at.Context(), args)
		},
	}
}

// group is a command that has commands, and is none by itself.
func (l *commandLine) group(name, short string, commands ...*cobra.Command) *cobra.Command {
	at := l.command(name+" COMMAND", short, "", nil)
	at.Args = func(at *cobra.Command, args []string) error {
		if len(args) > 0 || l.showVersion {
			return aCommand(at, args)
		}
		var names []string
		for _, c := range commands {
			if !c.Hidden {
				names = append(names, c.Name())
			}
		}
		return usageError{fmt.Errorf("%s wants one of its commands: %s", name, strings.Join(names, ", "))}
	}
	at.AddCommand(commands...)
	return at
}

// columns is how wide the help is.
const columns = 100

// usage is what --help says below a command's description.
func usage(at *cobra.Command) error {
	out := at.OutOrStderr()
	fmt.Fprintf(out, "Usage: %s\n", at.UseLine())
	if at.HasAvailableSubCommands() {
		fmt.Fprintf(out, "\nCommands, each with --help:\n")
	}
	for _, c := range at.Commands() {
		if c.IsAvailableCommand() {
			fmt.Fprintf(out, "  %-*s  %s\n", at.Commands()[0].NamePadding(), c.Name(), c.Short)
		}
	}
	_, err := fmt.Fprintf(out, "\nFlags:\n%s", at.Flags().FlagUsagesWrapped(columns))
	return err
}

// usageError is about the command line, which --help explains.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// aCommand refuses what is the name of no command.
func aCommand(at *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	at.SuggestionsMinimumDistance = farthest
	near := at.SuggestionsFor(args[0])
	unknown := fmt.Errorf("there is no command %q", strings.TrimSpace(name(at)+" "+args[0]))
	if len(near) > 0 {
		unknown = fmt.Errorf("%w, did you mean %q?", unknown, near[0])
	}
	return usageError{unknown}
}

// asInUsage refuses more arguments than a command's usage names, and fewer than it has outside of brackets.
func asInUsage(at *cobra.Command, args []string) error {
	named := strings.Fields(at.Use)[1:]
	switch {
	case len(args) > len(named):
		return usageError{fmt.Errorf("unexpected argument %q", args[len(named)])}
	case len(args) < len(named) && !strings.HasPrefix(named[len(args)], "["):
		return usageError{fmt.Errorf("%s wants %s", name(at), strings.Join(named, " "))}
	}
	return nil
}

// name is how a command is called behind the program's name.
func name(at *cobra.Command) string {
	return strings.TrimSpace(strings.TrimPrefix(at.CommandPath(), at.Root().Name()))
}

// farthest is how many letters may be mistyped in a name that is suggested.
const farthest = 2

// flagProblem says what is wrong with a flag.
func flagProblem(at *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	var number *strconv.NumError
	switch {
	case errors.As(err, &unknown):
		nearest, distance := "", farthest+1
		at.Flags().VisitAll(func(f *pflag.Flag) {
			if d := levenshtein.ComputeDistance(unknown.GetSpecifiedName(), f.Name); d < distance {
				nearest, distance = f.Name, d
			}
		})
		if nearest != "" {
			return fmt.Errorf("%w, did you mean %q?", err, "--"+nearest)
		}
	case errors.As(err, &number) && errors.As(err, &invalid):
		return fmt.Errorf("--%s: %q: %w", invalid.GetFlag().Name, number.Num, number.Err)
	case errors.As(err, &invalid):
		return fmt.Errorf("--%s: %w", invalid.GetFlag().Name, invalid.Unwrap())
	}
	return err
}
