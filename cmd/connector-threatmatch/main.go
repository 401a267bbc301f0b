package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/alecthomas/kong"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

type commandLine struct {
	Settings settingsFlag `embed:""`

	ShowVersion kong.VersionFlag `name:"version" help:"Print the version and exit."`

	Run        runCommand        `cmd:"" default:"1" help:"Run the connector (what happens without a command)."`
	Sandbox    sandboxCommand    `cmd:"" help:"Run the connector against a simulated ThreatMatch, OpenCTI and RabbitMQ."`
	Check      checkCommand      `cmd:"" help:"Check everything that the connector needs before its first run; nothing is changed."`
	Preview    previewCommand    `cmd:"" help:"Tell what a window holds and what importing it takes; nothing is sent."`
	Backfill   backfillCommand   `cmd:"" help:"Import an older window beside the schedule."`
	Config     configCommand     `cmd:"" help:"Validate, show and describe the configuration."`
	State      stateCommand      `cmd:"" help:"Show, reset, move, export or import the connector's state in OpenCTI."`
	Health     healthCommand     `cmd:"" help:"Ask the connector that runs on this machine whether it is well."`
	Completion completionCommand `cmd:"" help:"Print a script with which a shell completes commands and flags."`
	Version    versionCommand    `cmd:"" help:"Print version, commit and Go version."`
}

func main() {
	ctx, stop := untilSignal(context.Background(), sameSignal, os.Exit)
	status := execute(ctx, os.Args[1:], console{os.Stdout, os.Stderr, os.Environ()})
	stop()
	os.Exit(status)
}

// execute runs a command line and returns the exit status.
func execute(ctx context.Context, args []string, con console) int {
	var cli commandLine
	helped := -1
	parser, err := kong.New(&cli,
		kong.Name("connector-threatmatch"),
		kong.Description("Imports ThreatMatch intelligence into OpenCTI."),
		kong.Vars{"version": thisBuild().String()},
		kong.Writers(con.stdout, con.stderr),
		kong.Exit(func(status int) { helped = status }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		panic(err) // the struct above is wrong
	}
	parsed, err := parser.Parse(args)
	switch {
	case helped >= 0:
		return helped
	case err != nil:
		fmt.Fprintf(con.stderr, "connector-threatmatch: %v (see --help)\n", err)
		return exitUsage
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	err = parsed.Run(cli.Settings, con)
	var wrong *config.Error
	var coded kong.ExitCoder
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &wrong):
		fmt.Fprintf(con.stderr, "connector-threatmatch: %v\n", err)
		return exitUsage
	case errors.As(err, &coded):
		fmt.Fprintf(con.stderr, "connector-threatmatch: %v\n", err)
		return coded.ExitCode()
	case !errors.Is(err, errLogged):
		fmt.Fprintf(con.stderr, "connector-threatmatch: %s\n", remote.Once(err))
	}
	return exitRunFailed
}
