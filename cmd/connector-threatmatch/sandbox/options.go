package sandbox

import (
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Options say what the sandbox holds and how it is shown; the tags are those of the command line.
type Options struct {
	Data     string `type:"existingdir" placeholder:"DIR" help:"Serve profiles.ndjson, alerts.ndjson and indicators.ndjson of a folder (.gz too) instead of generated intelligence."`
	RabbitMQ string `name:"rabbitmq" placeholder:"URL" help:"Use a real broker, like amqp://guest:guest@localhost:5672/."`
	Messages string `type:"path" placeholder:"FILE" help:"Write what arrives in the queue to a file, a STIX object a line."`
	Serve    bool   `help:"Do not run the connector: keep the simulators up and print the environment for one in a second terminal."`

	Imports    float64       `default:"0" placeholder:"N" help:"Messages a second that OpenCTI's workers import, with --serve (none)."`
	Profiles   int           `default:"150" help:"Profiles to generate (${default})."`
	Alerts     int           `default:"150" help:"Alerts to generate (${default})."`
	Reports    int           `default:"0" help:"Reports to generate (${default})."`
	Indicators int           `default:"5000" help:"Indicators to generate (${default})."`
	Seed       uint64        `default:"1" help:"Seed of the generator: the same one gives the same intelligence (${default})."`
	Latency    time.Duration `default:"0s" help:"Time that ThreatMatch takes for an answer (${default})."`
	PageSize   int           `default:"100" help:"Indicators on a page (${default})."`
	Progress   bool          `default:"true" negatable:"" help:"Show how the run gets on."`
}

// Validate refuses what cannot be generated or reached; the command line's parser calls it.
func (o Options) Validate() error {
	if min(o.Profiles, o.Alerts, o.Reports, o.Indicators) < 0 || o.PageSize < 1 || o.Latency < 0 {
		return errors.New("numbers must not be negative, and a page holds at least one indicator")
	}
	if o.Imports < 0 || o.Imports > 0 && (!o.Serve || o.RabbitMQ != "") {
		return errors.New("--imports is a number of messages a second, for --serve without --rabbitmq")
	}
	if o.RabbitMQ != "" {
		if _, err := amqp.ParseURI(o.RabbitMQ); err != nil {
			return fmt.Errorf("--rabbitmq: %w", err)
		}
	}
	return nil
}
