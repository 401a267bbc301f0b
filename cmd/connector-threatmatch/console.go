package main

import (
	"errors"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/progress"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"
)

// Exit statuses. A second signal ends the program with 128 and the signal's number.
const (
	exitOK        = 0
	exitRunFailed = 1
	exitUsage     = 2
)

// console is what a command may read from and write to.
type console struct {
	stdout, stderr io.Writer
	environ        []string
}

// errLogged marks an error that stands in the log already.
var errLogged = errors.New("logged")

// settingsFlag is the flag of every command that reads the configuration.
type settingsFlag struct {
	Config string // the path that --config has, "" without
}

// configFile is where the configuration is looked for unless --config says otherwise.
const configFile = "config.yml"

// path is where the configuration is looked for, and whether --config says so.
func (f settingsFlag) path() (path string, explicit bool) {
	if f.Config == "" {
		return configFile, false
	}
	return f.Config, true
}

// load reads what --config, the working directory and the environment say.
func (f settingsFlag) load(con console) (config.Config, []config.Warning, error) {
	path, explicit := f.path()
	return config.Load(path, explicit, con.environ)
}

// bars draw progress where somebody looks at the standard error, in a picture that stays or one for each of many runs; nil where
// nobody does.
func (c console) bars(once bool) *progress.Bars {
	switch {
	case !isTerminal(c.stderr):
		return nil
	case once:
		return progress.NewBars(c.stderr, "messages")
	}
	return progress.NewPassingBars(c.stderr, "messages")
}

// isWatched reports that somebody looks at all that a command says: nothing of it goes to a file or another program.
func (c console) isWatched() bool { return isTerminal(c.stdout) && isTerminal(c.stderr) }

// logsTo is where log lines go that end at the standard error: through another writer, such as bars that draw there. A terminal gets
// them in colour, unless NO_COLOR says otherwise (no-color.org).
func (c console) logsTo(through io.Writer) io.Writer {
	if !isTerminal(c.stderr) || slices.ContainsFunc(c.environ, func(pair string) bool { return strings.HasPrefix(pair, "NO_COLOR=") && pair != "NO_COLOR=" }) {
		return through
	}
	return status.InColour(through)
}

func isTerminal(out io.Writer) bool {
	f, isFile := out.(*os.File)
	return isFile && progress.IsTerminal(f)
}
