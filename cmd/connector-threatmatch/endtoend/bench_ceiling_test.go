package endtoend

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// ceilingEnv names the broker for the process that publishes without a connector around it.
const ceilingEnv = "THREATMATCH_BENCH_CEILING"

// ceilingWindow is how many messages may be unconfirmed, as for the connector.
const ceilingWindow = 1000

// publishBare publishes the messages of a file in a process of its own.
func publishBare(b *testing.B, brokerURL, file string) footprint {
	cmd := exec.Command(os.Args[0], "-test.run", "^TestThePublisherWithoutAConnector$", "-test.v")
	cmd.Env = append(os.Environ(), ceilingEnv+"="+brokerURL, ceilingEnv+"_FILE="+file, ceilingEnv+"_OUT="+file+".took")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("the bare publisher: %v\n%s", err, out)
	}
	text, err := os.ReadFile(file + ".took")
	if err != nil {
		b.Fatal(err)
	}
	var took struct{ Wall, CPU time.Duration }
	if err := json.Unmarshal(text, &took); err != nil {
		b.Fatal(err)
	}
	return footprint{wall: took.Wall, cpu: took.CPU}
}

// TestThePublisherWithoutAConnector is the body of that process.
func TestThePublisherWithoutAConnector(t *testing.T) {
	brokerURL := os.Getenv(ceilingEnv)
	if brokerURL == "" {
		t.Skip("it publishes for BenchmarkImport")
	}
	messages, err := readMessages(os.Getenv(ceilingEnv + "_FILE"))
	if err != nil {
		t.Fatal(err)
	}
	started, used := time.Now(), cpuTime()
	if err := publishAll(brokerURL, messages); err != nil {
		t.Fatal(err)
	}
	took, err := json.Marshal(map[string]time.Duration{"Wall": time.Since(started), "CPU": cpuTime() - used})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(os.Getenv(ceilingEnv+"_OUT"), took, 0o600); err != nil {
		t.Fatal(err)
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// publishAll publishes in order to a durable queue of its own and returns when everything is confirmed.
func publishAll(brokerURL string, messages [][]byte) error {
	conn, err := amqp.Dial(brokerURL)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return fmt.Errorf("open channel: %w", err)
	}
	const exchange, queue = "ceiling.exchange", "ceiling"
	if err := ch.ExchangeDeclare(exchange, "direct", true, false, false, false, nil); err != nil {
		return fmt.Errorf("declare exchange: %w", err)
	}
	if _, err := ch.QueueDeclare(queue, true, false, false, false, nil); err != nil {
		return fmt.Errorf("declare queue: %w", err)
	}
	if err := ch.QueueBind(queue, queue, exchange, false, nil); err != nil {
		return fmt.Errorf("bind queue: %w", err)
	}
	if err := ch.Confirm(false); err != nil {
		return fmt.Errorf("ask for confirms: %w", err)
	}
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, ceilingWindow))
	room := make(chan struct{}, ceilingWindow)
	settled := make(chan error, 1)
	go func() {
		for range messages {
			if c, open := <-confirms; !open || !c.Ack {
				settled <- errors.New("a message was not confirmed")
				return
			}
			<-room
		}
		settled <- nil
	}()
	for _, body := range messages {
		select {
		case room <- struct{}{}:
		case err := <-settled:
			return err
		}
		err := ch.PublishWithContext(context.Background(), exchange, queue, true, false,
			amqp.Publishing{DeliveryMode: amqp.Persistent, ContentType: "application/json", Body: body})
		if err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	if err := <-settled; err != nil {
		return err
	}
	_, err = ch.QueueDelete(queue, false, false, false)
	return err
}

func writeMessages(path string, messages [][]byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for _, m := range messages {
		head := binary.AppendUvarint(nil, uint64(len(m)))
		if _, err := w.Write(append(head, m...)); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(w.Flush(), f.Close())
}

func readMessages(path string) ([][]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := bufio.NewReader(f)
	var messages [][]byte
	for {
		n, err := binary.ReadUvarint(r)
		if errors.Is(err, io.EOF) {
			return messages, nil
		}
		if err != nil {
			return nil, err
		}
		m := make([]byte, n)
		if _, err := io.ReadFull(r, m); err != nil {
			return nil, err
		}
		messages = append(messages, m)
	}
}
