package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

type sandboxCommand struct {
	Data     string `type:"existingdir" placeholder:"DIR" help:"Serve profiles.ndjson, alerts.ndjson and indicators.ndjson of a folder (.gz too) instead of generated intelligence."`
	RabbitMQ string `name:"rabbitmq" placeholder:"URL" help:"Use a real broker, like amqp://guest:guest@localhost:5672/."`
	Serve    bool   `help:"Do not run the connector: keep the simulators up and print the environment for one in a second terminal."`

	Profiles   int           `default:"150" help:"Profiles to generate (${default})."`
	Alerts     int           `default:"150" help:"Alerts to generate (${default})."`
	Reports    int           `default:"0" help:"Reports to generate (${default})."`
	Indicators int           `default:"5000" help:"Indicators to generate (${default})."`
	Seed       uint64        `default:"1" help:"Seed of the generator: the same one gives the same intelligence (${default})."`
	Latency    time.Duration `default:"0s" help:"Time that ThreatMatch takes for an answer (${default})."`
	PageSize   int           `default:"100" help:"Indicators on a page (${default})."`
	Progress   bool          `default:"true" negatable:"" help:"Show how the run gets on."`
}

// errAccount says that a run in the sandbox did not end as it should.
var errAccount = errors.New("the account does not add up")

// Run runs the connector in the sandbox and gives account of it.
func (c sandboxCommand) Run(ctx context.Context, con console) (err error) {
	data, held, err := c.intelligence()
	if err != nil {
		return err
	}
	t, err := startTwins(threatmatchtest.Config{Data: data, Latency: c.Latency, PageSize: c.PageSize}, c.RabbitMQ, c.Serve)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	if held[reportsDataset] > 0 {
		t.set["THREATMATCH_IMPORT_REPORTS"] = "true"
	}
	if c.Serve {
		t.set["CONNECTOR_QUEUE_THRESHOLD"] = "1000000" // nothing consumes: a connector would wait for ever
	}
	environ := t.environ(con.environ)
	if c.Serve {
		return c.serve(ctx, t, environ, con.stdout)
	}
	return c.connect(ctx, t, held, environ, con)
}

// Validate refuses what cannot be generated or reached; the command line's parser calls it.
func (c sandboxCommand) Validate() error {
	if min(c.Profiles, c.Alerts, c.Reports, c.Indicators) < 0 || c.PageSize < 1 || c.Latency < 0 {
		return errors.New("numbers must not be negative, and a page holds at least one indicator")
	}
	if c.RabbitMQ != "" {
		if _, err := amqp.ParseURI(c.RabbitMQ); err != nil {
			return fmt.Errorf("--rabbitmq: %w", err)
		}
	}
	return nil
}

// The datasets as the API names them.
const (
	profilesDataset   = "profiles"
	alertsDataset     = "alerts"
	reportsDataset    = "reports"
	indicatorsDataset = "iocs"
)

// intelligence is what the simulated ThreatMatch holds, and how much of it.
func (c sandboxCommand) intelligence() (threatmatchtest.Data, map[string]int, error) {
	if c.Data == "" {
		return threatmatchtest.Generate(threatmatchtest.Shape{
				Seed: c.Seed, Profiles: c.Profiles, Alerts: c.Alerts, Reports: c.Reports, Indicators: c.Indicators,
			}), map[string]int{
				profilesDataset: c.Profiles, alertsDataset: c.Alerts, reportsDataset: c.Reports, indicatorsDataset: c.Indicators,
			}, nil
	}
	folder, err := threatmatchtest.Load(c.Data)
	if err != nil {
		return nil, nil, fmt.Errorf("load %s: %w", c.Data, err)
	}
	held := map[string]int{}
	for _, dataset := range []string{profilesDataset, alertsDataset, reportsDataset} {
		for range folder.IDs(dataset, time.Time{}) {
			held[dataset]++
		}
	}
	indicators, _ := folder.Indicators(time.Time{}, true, 1<<31-1)
	held[indicatorsDataset] = len(indicators)
	return folder, held, nil
}

// connect runs the connector once and prints the account.
func (c sandboxCommand) connect(ctx context.Context, t *twins, held map[string]int, environ []string, con console) error {
	cfg, _, err := loadConfig("", false, environ)
	if err != nil {
		return err
	}
	shown, counted, logTo := c.display(con.stderr)
	started := time.Now()
	runErr := runConnector(ctx, cfg, newLogger(cfg, logTo), runOptions{Progress: shown})
	took := time.Since(started)
	if closer, ok := shown.(interface{ Close() }); ok {
		closer.Close()
	}
	if t.broker == nil {
		if err := readQueue(c.RabbitMQ, "push_"+cfg.Connector.ID, t.arrived); err != nil {
			return fmt.Errorf("look into the queue: %w", err)
		}
		// The queue was this run's own: it does not stay on somebody's broker.
		t.closers = append(t.closers, t.platform.DeleteConnector)
	}
	a := takeAccount(cfg, t, held, counted, took, runErr)
	a.print(con.stdout)
	if len(a.wrong) > 0 {
		return errAccount
	}
	return nil
}

// display chooses how progress is shown on out, and where log lines go meanwhile.
func (c sandboxCommand) display(out io.Writer) (progress, *tally, io.Writer) {
	if !c.Progress {
		t := newTally()
		return t, t, out
	}
	if f, ok := out.(*os.File); ok && isTerminal(f) {
		bars := newProgressBars(f)
		return bars, bars.tally, bars
	}
	lines := newProgressLines(out, time.Second)
	return lines, lines.tally, out
}

// serve keeps the simulators up until ctx ends.
func (c sandboxCommand) serve(ctx context.Context, t *twins, environ []string, out io.Writer) error {
	var b strings.Builder
	b.WriteString("# A connector in another terminal finds the sandbox with:\n")
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		fmt.Fprintf(&b, "export %s=%s\n", name, shellQuoted(value))
	}
	fmt.Fprintf(&b, "# RabbitMQ: %s\n# Ctrl-C ends the sandbox.\n", c.brokerAddress(t))
	if _, err := io.WriteString(out, b.String()); err != nil {
		return err
	}
	<-ctx.Done()
	if len(t.platform.Works()) > 0 {
		fmt.Fprintf(out, "# %s messages arrived, %s of them before what they refer to\n", grouped(t.arrived.total), grouped(t.arrived.earlyCount))
	}
	return nil
}

func (c sandboxCommand) brokerAddress(t *twins) string {
	address := c.RabbitMQ
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

// readQueue reads a real broker's queue to its present end.
func readQueue(brokerURL, queue string, into *arrivals) error {
	conn, err := amqp.DialConfig(brokerURL, amqp.Config{Dial: amqp.DefaultDial(10 * time.Second)})
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return fmt.Errorf("open channel: %w", err)
	}
	for {
		m, ok, err := ch.Get(queue, true)
		if err != nil {
			return fmt.Errorf("read queue %s: %w", queue, err)
		}
		if !ok {
			return nil
		}
		into.add(m.Body)
	}
}
