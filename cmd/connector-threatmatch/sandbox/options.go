package sandbox

import (
	"errors"
	"fmt"
	"os"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Options say what the sandbox holds and how it is shown.
type Options struct {
	Data     string // a folder whose profiles.ndjson, alerts.ndjson and indicators.ndjson (.gz too) are served; "" for generated intelligence
	RabbitMQ string // the URL of a real broker, "" for a simulated one
	Messages string // a file for what arrives in the queue, a STIX object a line; "" for none
	Serve    bool   // keep the simulators up for a connector elsewhere

	Imports                               float64 // messages a second that OpenCTI's workers import
	Profiles, Alerts, Reports, Indicators int     // to generate
	Seed                                  uint64  // of the generator: the same one gives the same intelligence
	Latency                               time.Duration
	PageSize                              int // indicators on a page
	Progress                              bool
}

// Validate refuses what cannot be served, generated or reached.
func (o Options) Validate() error {
	if min(o.Profiles, o.Alerts, o.Reports, o.Indicators) < 0 || o.PageSize < 1 || o.Latency < 0 {
		return errors.New("numbers must not be negative, and a page holds at least one indicator")
	}
	if o.Imports < 0 || o.Imports > 0 && (!o.Serve || o.RabbitMQ != "") {
		return errors.New("--imports is a number of messages a second, for --serve without --rabbitmq")
	}
	if o.Data != "" {
		if _, err := os.ReadDir(o.Data); err != nil {
			return fmt.Errorf("--data: %w", err)
		}
	}
	if o.RabbitMQ != "" {
		if _, err := amqp.ParseURI(o.RabbitMQ); err != nil {
			return fmt.Errorf("--rabbitmq: %w", err)
		}
	}
	return nil
}
