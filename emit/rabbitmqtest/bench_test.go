package rabbitmqtest

import (
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// BenchmarkPublish is the client and the broker in one process, a thousand publishes unconfirmed at a time.
func BenchmarkPublish(b *testing.B) {
	for name, config := range map[string]Config{"keep": {}, "discard": {Discard: true}} {
		b.Run(name, func(b *testing.B) { benchmarkPublish(b, config) })
	}
}

func benchmarkPublish(b *testing.B, config Config) {
	broker, err := Start(config)
	if err != nil {
		b.Fatal(err)
	}
	defer broker.Close()
	conn, err := amqp.Dial(broker.URL())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		b.Fatal(err)
	}
	if _, err := ch.QueueDeclare("q", true, false, false, false, nil); err != nil {
		b.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		b.Fatal(err)
	}
	const window = 1000
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, window))
	body := make([]byte, 200)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	b.ResetTimer()
	outstanding := 0
	for range b.N {
		if outstanding == window {
			<-confirms
			outstanding--
		}
		if err := ch.Publish("", "q", true, false, amqp.Publishing{Body: body, DeliveryMode: 2, ContentEncoding: "utf-8"}); err != nil {
			b.Fatal(err)
		}
		outstanding++
	}
	for ; outstanding > 0; outstanding-- {
		<-confirms
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	if n, _ := broker.Depth("q"); n != b.N {
		b.Fatalf("queue holds %d of %d", n, b.N)
	}
}
