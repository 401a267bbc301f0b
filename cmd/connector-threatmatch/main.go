package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

func main() {
	ctx, stop := untilSignal(context.Background(), sameSignal, os.Exit)
	status := execute(ctx, os.Args[1:], console{os.Stdout, os.Stderr, os.Environ()})
	stop()
	os.Exit(status)
}

// execute runs a command line and returns the exit status.
func execute(ctx context.Context, args []string, con console) int {
	root := newCommandLine(con).root()
	root.SetArgs(append([]string{}, args...)) // for nil stand the arguments of the process
	err := root.ExecuteContext(ctx)
	var wrong *config.Error
	var misused usageError
	var coded interface{ ExitCode() int }
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &misused):
		fmt.Fprintf(con.stderr, "connector-threatmatch: %v (see --help)\n", err)
		return exitUsage
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
