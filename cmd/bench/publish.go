package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/opencti-connectors/threatmatch/cmd/bench/process"
	"github.com/opencti-connectors/threatmatch/cmd/bench/twins"
)

// publishCommand is the word of the command line that makes this program the bare publisher; what it publishes follows.
const publishCommand = "publish"

// window is how many messages may be unconfirmed, as for the connector.
const window = 1000

// publication is what the bare publisher publishes, and where to.
type publication struct {
	Broker, QueueType, Queue string
	File                     string
}

// bare runs the bare publisher once, and takes the queue away afterwards.
func (b *bench) bare(ctx context.Context, at place, file string, messages int) (r run, err error) {
	ctx, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	p := publication{Broker: at.url, QueueType: at.queue, Queue: "bare-" + uuid.NewString(), File: file}
	text, err := json.Marshal(p)
	if err != nil {
		return r, err
	}
	watch := watchQueue(at.url, p.Queue)
	cmd := exec.Command(b.self, publishCommand, string(text))
	cmd.Stderr = os.Stderr
	started, err := process.Start(ctx, cmd)
	if err == nil {
		r.Footprint, err = started.Wait(lookOften)
	}
	arrived, watched := watch.end()
	r.messages, r.arrived = messages, arrived
	if err := errors.Join(err, watched, context.Cause(ctx), p.withdraw()); err != nil {
		return r, fmt.Errorf("publish without a connector: %w", err)
	}
	if len(arrived) == 0 || arrived[len(arrived)-1].Messages != messages {
		return r, fmt.Errorf("publish without a connector: the queue does not hold the %d messages", messages)
	}
	return r, nil
}

// withdraw deletes the queue and the exchange, which have the same name.
func (p publication) withdraw() error {
	conn, err := p.dial()
	if err != nil {
		return err
	}
	ch, err := conn.Channel()
	if err == nil {
		_, err = ch.QueueDelete(p.Queue, false, false, false)
	}
	if err == nil {
		err = ch.ExchangeDelete(p.Queue, false, false)
	}
	return errors.Join(err, conn.CloseDeadline(time.Now().Add(watchPatience)))
}

func (p publication) dial() (*amqp.Connection, error) {
	return amqp.DialConfig(p.Broker, amqp.Config{Dial: amqp.DefaultDial(watchPatience)})
}

// publish is the body of the bare publisher's process: it publishes in order and returns when everything is confirmed.
func publish(ctx context.Context, arguments string) error {
	var p publication
	if err := json.Unmarshal([]byte(arguments), &p); err != nil {
		return fmt.Errorf("read what to publish: %w", err)
	}
	conn, err := p.dial()
	if err != nil {
		return fmt.Errorf("connect to the broker: %w", err)
	}
	ch, err := p.declare(conn)
	if err == nil {
		err = p.send(ctx, ch)
	}
	return errors.Join(err, conn.CloseDeadline(time.Now().Add(watchPatience)))
}

// declare opens a channel with confirms and makes a durable queue.
func (p publication) declare(conn *amqp.Connection) (*amqp.Channel, error) {
	ch, err := conn.Channel()
	if err != nil {
		return nil, fmt.Errorf("open a channel: %w", err)
	}
	var kind amqp.Table
	if p.QueueType != "" {
		kind = amqp.Table{amqp.QueueTypeArg: p.QueueType}
	}
	err = ch.ExchangeDeclare(p.Queue, amqp.ExchangeDirect, true, false, false, false, nil)
	if err == nil {
		_, err = ch.QueueDeclare(p.Queue, true, false, false, false, kind)
	}
	if err == nil {
		err = ch.QueueBind(p.Queue, p.Queue, p.Queue, false, nil)
	}
	if err == nil {
		err = ch.Confirm(false)
	}
	if err != nil {
		return nil, fmt.Errorf("declare the queue: %w", err)
	}
	return ch, nil
}

// send publishes the messages of the file and waits for the confirms.
func (p publication) send(ctx context.Context, ch *amqp.Channel) error {
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, window))
	room := make(chan struct{}, window)
	settled := make(chan error, 1)
	go func() {
		for c := range confirms {
			if !c.Ack {
				settled <- errors.New("a message was not confirmed")
				return
			}
			<-room
		}
		settled <- errors.New("the channel was closed")
	}()
	for body, err := range twins.Messages(p.File) {
		if err != nil {
			return err
		}
		select {
		case room <- struct{}{}:
		case err := <-settled:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := ch.PublishWithContext(ctx, p.Queue, p.Queue, true, false,
			amqp.Publishing{ContentEncoding: "utf-8", DeliveryMode: amqp.Persistent, Body: body}); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	for range window { // all have been confirmed when nothing takes room any more
		select {
		case room <- struct{}{}:
		case err := <-settled:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
