package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/alecthomas/kong"
	"go.uber.org/zap"
)

// version is set by the linker; see [versionText].
var version = ""

// Exit statuses. A second signal ends the program with 128 and the signal's number.
const (
	exitOK        = 0
	exitRunFailed = 1
	exitUsage     = 2
)

// configFile is where the configuration is looked for unless --config says otherwise.
const configFile = "config.yml"

type commandLine struct {
	Config string `short:"c" placeholder:"PATH" help:"Configuration file. Default: config.yml in the working directory, if there is one."`

	Run     runCommand     `cmd:"" default:"withargs" help:"Run the connector (what happens without a command)."`
	Sandbox sandboxCommand `cmd:"" help:"Run the connector against a simulated ThreatMatch, OpenCTI and RabbitMQ."`
	Check   checkCommand   `cmd:"" help:"Validate the configuration and exit."`
	Health  healthCommand  `cmd:"" help:"Ask the connector that runs on this machine whether it is well (with CONNECTOR_EXPOSE_METRICS=true)."`
	Version versionCommand `cmd:"" help:"Print the version."`
	Schema  schemaCommand  `cmd:"" hidden:"" help:"Print the JSON Schema of the settings."`
	Docs    docsCommand    `cmd:"" hidden:"" help:"Print the table of the settings."`
}

// console is what a command may read from and write to.
type console struct {
	stdout, stderr io.Writer
	environ        []string
}

func main() {
	ctx, stop := untilSignal(context.Background(), os.Exit)
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
	err = parsed.Run(&cli, con)
	var wrong *ConfigError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &wrong):
		fmt.Fprintf(con.stderr, "connector-threatmatch: %v\n", err)
		return exitUsage
	case !errors.Is(err, errLogged):
		fmt.Fprintf(con.stderr, "connector-threatmatch: %v\n", err)
	}
	return exitRunFailed
}

// errLogged marks an error that stands in the log already.
var errLogged = errors.New("logged")

// configuration reads what --config, the working directory and the environment say.
func (cli *commandLine) configuration(con console) (Config, []Warning, error) {
	path := cli.Config
	if path == "" {
		path = configFile
	}
	return loadConfig(path, cli.Config != "", con.environ)
}

type runCommand struct{}

// Run runs the connector until it is told to stop.
func (runCommand) Run(ctx context.Context, cli *commandLine, con console) error {
	cfg, warnings, err := cli.configuration(con)
	if err != nil {
		return err
	}
	log := newLogger(cfg, con.stderr)
	for _, w := range warnings {
		log.Warn(string(w))
	}
	log.Info("starting", zap.String("version", versionText()))
	if err := runConnector(ctx, cfg, log, runOptions{Progress: noProgress{}}); err != nil {
		log.Error("stopped", zap.Error(err))
		return fmt.Errorf("%w: %w", errLogged, err)
	}
	log.Info("stopped")
	return nil
}

type checkCommand struct {
	Settings bool `help:"List every setting with its default."`
}

// Run validates the configuration.
func (c checkCommand) Run(cli *commandLine, con console) error {
	if c.Settings {
		_, err := io.WriteString(con.stdout, settingsListing())
		return err
	}
	_, warnings, err := cli.configuration(con)
	for _, w := range warnings {
		fmt.Fprintln(con.stderr, "warning:", w)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(con.stdout, "the configuration is valid")
	return nil
}

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run(con console) error {
	_, err := fmt.Fprintln(con.stdout, versionText())
	return err
}

// versionText is the linker's version, else what the toolchain knows of the source.
func versionText() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return strings.Trim(info.Main.Version, "()")
}

type schemaCommand struct{}

// Run prints the JSON Schema.
func (schemaCommand) Run(con console) error {
	_, err := con.stdout.Write(configSchema())
	return err
}

type docsCommand struct {
	Form string `arg:"" optional:"" default:"table" enum:"table,catalogue,env,compose,yaml" help:"One of table, catalogue, env, compose, yaml."`
}

// Run prints the settings in one of the forms that the documentation and the samples have.
func (c docsCommand) Run(con console) error {
	forms := map[string]func() string{
		"table": settingsTable, "catalogue": catalogueTable, "env": sampleEnv, "compose": sampleCompose, "yaml": sampleYAML,
	}
	_, err := io.WriteString(con.stdout, forms[c.Form]())
	return err
}
