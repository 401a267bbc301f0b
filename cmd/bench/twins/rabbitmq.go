package twins

import (
	"bufio"
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
)

// RabbitMQSettings say what the broker does with messages besides confirming and forgetting them.
type RabbitMQSettings struct {
	Record string // the file to write them to, for [Messages]; "" for none
}

// Arrivals is how many messages had arrived at a moment.
type Arrivals struct {
	At       time.Time
	Messages int
}

// lookEvery is how often the broker looks how many messages there are.
const lookEvery = 5 * time.Millisecond

// rabbitMQ is a broker that confirms at once.
type rabbitMQ struct {
	*rabbitmqtest.Broker
	arrived []Arrivals // where their number has changed
	stop    chan struct{}
	looking sync.WaitGroup

	file   *os.File
	record *bufio.Writer
	failed error // to write down
}

func startRabbitMQ(s RabbitMQSettings) (r *rabbitMQ, err error) {
	r = &rabbitMQ{stop: make(chan struct{})}
	config := rabbitmqtest.Config{Discard: true}
	if s.Record != "" {
		if r.file, err = os.Create(s.Record); err != nil {
			return nil, err
		}
		r.record, config.OnMessage = bufio.NewWriterSize(r.file, 1<<20), r.write
	}
	if r.Broker, err = rabbitmqtest.Start(config); err != nil {
		return nil, err
	}
	r.looking.Go(r.look)
	return r, nil
}

// write writes a message down; there is one connection that sends any.
func (r *rabbitMQ) write(m rabbitmqtest.Message) {
	if r.failed == nil {
		_, r.failed = r.record.Write(binary.AppendUvarint(r.record.AvailableBuffer(), uint64(len(m.Body))))
	}
	if r.failed == nil {
		_, r.failed = r.record.Write(m.Body)
	}
}

// look notes how many messages have arrived until it is stopped.
func (r *rabbitMQ) look() {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	last := 0
	note := func(at time.Time) {
		if n := r.Published(); n != last {
			last = n
			r.arrived = append(r.arrived, Arrivals{at, n})
		}
	}
	for {
		select {
		case at := <-ticker.C:
			note(at)
		case <-r.stop:
			note(time.Now())
			return
		}
	}
}

func (r *rabbitMQ) url() string { return r.URL() }

func (r *rabbitMQ) account() Account { return Account{Arrived: r.arrived} }

func (r *rabbitMQ) close() error {
	close(r.stop)
	r.looking.Wait()
	err := r.Close()
	if r.file != nil {
		err = errors.Join(err, r.failed, r.record.Flush(), r.file.Close())
	}
	return err
}
