// Command bench measures the connector against bare ceilings and goals, and writes a report of it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/opencti-connectors/threatmatch/cmd/bench/twins"
)

// Exit statuses beside 0.
const (
	exitMissed = 1 // a ratio misses its goal, in the full form
	exitFailed = 2 // the measurement itself failed
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := execute(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// execute runs a command line: a measurement, or one of the processes that a measurement makes of this program.
func execute(ctx context.Context, args []string, in io.Reader, out, problems io.Writer) int {
	err := func() error {
		switch {
		case len(args) == 3 && args[0] == twins.Command:
			return twins.Serve(args[1], args[2], in, out)
		case len(args) == 2 && args[0] == publishCommand:
			return publish(ctx, args[1])
		case len(args) >= 1 && args[0] == insideCommand:
			return inside(ctx, args[1:], out)
		case len(args) >= 1 && args[0] == "profile":
			return profile(ctx, args[1:], out, problems)
		}
		return measureAll(ctx, args, out, problems)
	}()
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errMissed):
		return exitMissed
	}
	fmt.Fprintln(problems, "bench:", err)
	return exitFailed
}
