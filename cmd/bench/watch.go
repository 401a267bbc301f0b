package main

import (
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/opencti-connectors/threatmatch/cmd/bench/twins"
)

// watchEvery is how often a queue is looked at: beside a RabbitMQ that takes messages as fast as it can, the question costs it some
// thousandth.
const watchEvery = 20 * time.Millisecond

// watcher looks how many messages a queue holds.
type watcher struct {
	stop, ended chan struct{}
	arrived     []twins.Arrivals // after ended, as is err
	err         error
}

// watchQueue looks at a queue, which need not be there yet, until end.
func watchQueue(url, queue string) *watcher {
	w := &watcher{stop: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		w.err = w.watch(url, queue)
	}()
	return w
}

// end looks a last time, and returns where the number has changed.
func (w *watcher) end() ([]twins.Arrivals, error) {
	close(w.stop)
	<-w.ended
	if w.err != nil {
		return nil, fmt.Errorf("watch the queue: %w", w.err)
	}
	return w.arrived, nil
}

func (w *watcher) watch(url, queue string) error {
	conn, err := amqp.DialConfig(url, amqp.Config{Dial: amqp.DefaultDial(watchPatience)})
	if err != nil {
		return err
	}
	defer func() { _ = conn.CloseDeadline(time.Now().Add(watchPatience)) }()
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	var ch *amqp.Channel
	last := 0
	for ending := false; !ending; {
		select {
		case <-ticker.C:
		case <-w.stop:
			ending = true
		}
		if ch == nil {
			if ch, err = conn.Channel(); err != nil {
				return err
			}
		}
		asked := time.Now()
		q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		var e *amqp.Error
		switch {
		case errors.As(err, &e) && e.Code == amqp.NotFound:
			ch = nil // the broker has closed it
		case err != nil:
			return err
		case q.Messages != last:
			last = q.Messages
			w.arrived = append(w.arrived, twins.Arrivals{At: asked.Add(time.Since(asked) / 2), Messages: last})
		}
	}
	return nil
}

// watchPatience bounds what the broker may take for an answer to a new connection.
const watchPatience = 10 * time.Second
