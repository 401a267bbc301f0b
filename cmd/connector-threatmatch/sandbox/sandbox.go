// Package sandbox runs the connector against a simulated ThreatMatch, OpenCTI and RabbitMQ, and gives account of it.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/connector"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/progress"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// messages is what goes out of the sandbox, as progress names it.
const messages = "messages"

// Host is where the sandbox runs, and for whom.
type Host struct {
	Version        string // of the program
	Environ        []string
	Stdout, Stderr io.Writer
}

// errAccount says that a run in the sandbox did not end as it should.
var errAccount = errors.New("the account does not add up")

// Run runs the connector in the sandbox and gives account of it on the host's standard output. The error says why there
// was no run, or that the account does not add up.
func Run(ctx context.Context, o Options, host Host) (err error) {
	if err := o.reachBroker(ctx); err != nil {
		return err
	}
	data, held, err := o.intelligence()
	if err != nil {
		return err
	}
	t, err := startTwins(threatmatchtest.Config{Data: data, Latency: o.Latency, PageSize: o.PageSize}, o.RabbitMQ, o.Serve)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	if o.Messages != "" {
		file, failed := os.Create(o.Messages)
		if failed != nil {
			return fmt.Errorf("write the messages: %w", failed)
		}
		defer func() { err = errors.Join(err, t.arrived.recordErr, file.Close()) }()
		t.arrived.record = file
	}
	if held[fetch.ReportsDataset] > 0 {
		t.set["THREATMATCH_IMPORT_REPORTS"] = "true"
	}
	t.begin = firstDay(data)
	if o.Serve {
		if o.Imports == 0 {
			t.set["CONNECTOR_QUEUE_THRESHOLD"] = "1000000" // nothing consumes: a connector would wait for ever
		}
		t.level = config.LogInfo
	} else {
		t.set["CONNECTOR_STATUS_ADDRESS"] = "off" // it is over before somebody has looked
	}
	environ := t.environ(host.Environ)
	if o.Serve {
		return o.serve(ctx, t, environ, holdings(data, held), host.Stdout)
	}
	if names := withoutEffect(host.Environ); len(names) > 0 {
		fmt.Fprintf(host.Stderr, "Without effect in the sandbox, which counts what comes to the queue: %s. Try them beside sandbox --serve.\n", strings.Join(names, ", "))
	}
	return o.connect(ctx, t, held, environ, host)
}

// connect runs the connector once and prints the account.
func (o Options) connect(ctx context.Context, t *twins, held map[string]int, environ []string, host Host) error {
	cfg, _, err := config.Load("", false, environ)
	if err != nil {
		return err
	}
	shown, counted, logTo := o.display(host.Stderr)
	started := time.Now()
	runErr := connector.Run(ctx, cfg, status.NewLogger(cfg, logTo), connector.Options{Version: host.Version, Progress: shown})
	took := time.Since(started)
	if closer, ok := shown.(interface{ Close() }); ok {
		closer.Close()
	}
	if t.broker == nil {
		if held, err := o.readQueues(t); err != nil {
			return err
		} else if held > t.arrived.total {
			return fmt.Errorf("read the queue: only %s of %s messages within %s", words.Grouped(t.arrived.total), words.Grouped(held), readLimit)
		}
	}
	a := takeAccount(cfg, t, held, counted, took, runErr)
	a.print(host.Stdout)
	if len(a.wrong) > 0 {
		return errAccount
	}
	return nil
}

// display chooses how progress is shown on out, and where log lines go meanwhile.
func (o Options) display(out io.Writer) (connector.Progress, *progress.Tally, io.Writer) {
	if !o.Progress {
		t := progress.NewTally(messages)
		return t, t, out
	}
	if f, ok := out.(*os.File); ok && progress.IsTerminal(f) {
		bars := progress.NewBars(f, messages)
		return bars, bars.Tally, bars
	}
	lines := progress.NewLines(out, time.Second, messages)
	return lines, lines.Tally, out
}
