package rabbitmq_test

import (
	"bytes"
	"sync/atomic"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
)

// BenchmarkPublish delivers messages of 1.5 KB to a simulated broker over loopback. The broker's work is in the figure,
// as it shares the process.
func BenchmarkPublish(b *testing.B) {
	r := newRigWith(b, rabbitmqtest.Config{Discard: true}, func(_ *rig, c *rabbitmq.Config) { c.Window = 1000 })
	r.declare()
	body := bytes.Repeat([]byte("x"), 1500)
	var confirmed atomic.Int64
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if err := r.publisher.Publish(b.Context(), body, func(error) { confirmed.Add(1) }, nil); err != nil {
			b.Fatal(err)
		}
	}
	if err := r.publisher.Flush(b.Context(), nil); err != nil {
		b.Fatal(err)
	}
	if int(confirmed.Load()) != b.N {
		b.Fatalf("%d of %d messages confirmed", confirmed.Load(), b.N)
	}
}

// BenchmarkBareChannel is the ceiling: the library's channel with the same window and nothing that could recover.
func BenchmarkBareChannel(b *testing.B) {
	r := newRigWith(b, rabbitmqtest.Config{Discard: true}, nil)
	r.declare()
	conn, err := amqp.Dial(r.broker.URL())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		b.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		b.Fatal(err)
	}
	body := bytes.Repeat([]byte("x"), 1500)
	const window = 1000
	pending := make([]*amqp.DeferredConfirmation, 0, window)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if len(pending) == window {
			for _, c := range pending[:window/2] {
				c.Wait()
			}
			pending = append(pending[:0], pending[window/2:]...)
		}
		c, err := ch.PublishWithDeferredConfirm(exchange, key, true, false, amqp.Publishing{
			ContentEncoding: "utf-8", DeliveryMode: amqp.Persistent, Body: body,
		})
		if err != nil {
			b.Fatal(err)
		}
		pending = append(pending, c)
	}
	for _, c := range pending {
		c.Wait()
	}
}
