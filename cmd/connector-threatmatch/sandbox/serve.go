package sandbox

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/progress"
)

// serve keeps the simulators up until ctx ends.
func (o Options) serve(ctx context.Context, t *twins, environ []string, out io.Writer) error {
	var b strings.Builder
	b.WriteString("# A connector in another terminal finds the sandbox with:\n")
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		fmt.Fprintf(&b, "export %s=%s\n", name, shellQuoted(value))
	}
	fmt.Fprintf(&b, "# RabbitMQ: %s\n# Ctrl-C ends the sandbox.\n", o.brokerAddress(t))
	if _, err := io.WriteString(out, b.String()); err != nil {
		return err
	}
	<-ctx.Done()
	if len(t.platform.Works()) > 0 {
		fmt.Fprintf(out, "# %s messages arrived, %s of them before what they refer to\n", progress.GroupDigits(t.arrived.total), progress.GroupDigits(t.arrived.earlyCount))
	}
	return nil
}

func (o Options) brokerAddress(t *twins) string {
	address := o.RabbitMQ
	if t.broker != nil {
		address = t.broker.URL()
	}
	u, err := url.Parse(address)
	if err != nil {
		return "as given"
	}
	return u.Redacted()
}

func shellQuoted(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
