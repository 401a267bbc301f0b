package sandbox

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/connector"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
)

// serve keeps the simulators up until ctx ends.
func (o Options) serve(ctx context.Context, t *twins, environ []string, holds string, out io.Writer) error {
	cfg, _, err := config.Load("", false, environ)
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString(holds)
	b.WriteString("# A connector in another terminal, in a folder without config.yml (which would hide these), finds the sandbox with:\n")
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		fmt.Fprintf(&b, "export %s=%s\n", name, shellQuoted(value))
	}
	fmt.Fprintf(&b, "# RabbitMQ: %s\n", o.brokerAddress(t))
	if address := cfg.Connector.StatusAddress; address != "" {
		fmt.Fprintf(&b, "# With CONNECTOR_RUN_AND_TERMINATE=false the connector stays, and can be watched at http://%s\n", address)
	}
	b.WriteString("# Ctrl-C ends the sandbox.\n")
	if _, err := io.WriteString(out, b.String()); err != nil {
		return err
	}
	if o.Imports > 0 {
		t.importMessages(ctx, o.Imports)
	}
	<-ctx.Done()
	return o.conclude(t, out)
}

func (o Options) brokerAddress(t *twins) string {
	if t.broker != nil {
		return t.broker.URL() // its password protects nothing
	}
	return o.brokerName()
}

// conclude tells what the connectors of other terminals have sent.
func (o Options) conclude(t *twins, out io.Writer) error {
	works := t.platform.Works()
	if t.broker != nil {
		if len(works) > 0 {
			fmt.Fprintf(out, "# %s messages arrived, %s of them before what they refer to\n", words.Grouped(t.arrived.total), words.Grouped(t.arrived.earlyCount))
		}
		return nil
	}
	if len(t.platform.Registrations()) == 0 {
		return nil
	}
	fmt.Fprintln(out, "# Reading what lies in RabbitMQ's queue, which goes then")
	held, err := o.readQueues(t)
	if err != nil {
		return err
	}
	expected := 0
	for _, w := range works {
		expected += w.Expected
	}
	// A reset empties the queue and whoever else reads it takes from it: what OpenCTI was told to expect shows that.
	fmt.Fprintf(out, "# RabbitMQ held %s messages, OpenCTI was told to expect %s\n", words.Grouped(held), words.Grouped(expected))
	fmt.Fprintf(out, "# %s of them were looked at, %s came before what they refer to\n", words.Grouped(t.arrived.total), words.Grouped(t.arrived.earlyCount))
	return nil
}

// holdings tells how much of each dataset there is, and from when to when: whoever looks for it in another window finds nothing.
func holdings(data intelligence, held map[string]int) string {
	var b strings.Builder
	b.WriteString("# ThreatMatch holds:\n")
	for _, dataset := range connector.AllDatasets {
		if oldest, newest := span(data, dataset); !oldest.IsZero() {
			fmt.Fprintf(&b, "#   %s %s, changed from %s to %s\n", words.Grouped(held[dataset]), dataset, oldest.Format(time.DateOnly), newest.Format(time.DateOnly))
		}
	}
	return b.String()
}

func shellQuoted(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
