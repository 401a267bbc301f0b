package endtoend

import (
	"crypto/rand"
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
)

// servedSandbox is a sandbox on a real RabbitMQ, in a virtual host that nobody else uses, for connectors in other terminals.
type servedSandbox struct {
	*program
	environ []string // that it prints for them
	broker  *amqp.Connection
}

func serveOnRealBroker(t *testing.T, more ...string) *servedSandbox {
	t.Helper()
	node, vhost := sharedNode(t), "sandbox-"+rand.Text()
	for _, args := range [][]string{{"add_vhost", vhost}, {"set_permissions", "-p", vhost, node.User(), ".*", ".*", ".*"}} {
		if err := node.Control(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	url := fmt.Sprintf("amqp://%s:%s@%s/%s", node.User(), node.Password(), node.Addr(), vhost)
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatalf("%v at %s", err, url)
	}
	t.Cleanup(func() { _ = conn.Close() })
	s := &servedSandbox{broker: conn}
	s.program = startProgram(t, append([]string{"sandbox", "--serve", "--rabbitmq", url,
		"--profiles", "6", "--alerts", "6", "--indicators", "300"}, more...), nil)
	s.readsEnvironment()
	return s
}

// readsEnvironment reads what the sandbox prints for connectors.
func (s *servedSandbox) readsEnvironment() {
	s.t.Helper()
	s.awaits("Ctrl-C ends the sandbox")
	for _, pair := range regexp.MustCompile(`(?m)^export (.*)='(.*)'$`).FindAllStringSubmatch(s.output(), -1) {
		s.environ = append(s.environ, pair[1]+"="+pair[2])
	}
}

// connector runs a connector to its end as in a second terminal.
func (s *servedSandbox) connector(more ...string) {
	s.t.Helper()
	startProgram(s.t, nil, append(s.environ, more...)).wants(exitOK)
}

// depth counts what lies in a connector's queue, -1 for one that is not there.
func (s *servedSandbox) depth(id string) int {
	s.t.Helper()
	q, err := s.channel().QueueDeclarePassive("push_"+id, true, false, false, false, nil)
	if err != nil {
		return -1
	}
	return q.Messages
}

func (s *servedSandbox) channel() *amqp.Channel {
	s.t.Helper()
	ch, err := s.broker.Channel()
	if err != nil {
		s.t.Fatal(err)
	}
	return ch
}

func (s *servedSandbox) id() string {
	for _, pair := range s.environ {
		if id, ok := strings.CutPrefix(pair, "CONNECTOR_ID="); ok {
			return id
		}
	}
	s.t.Fatal("no id was printed")
	return ""
}

func TestAServedSandboxImportsAsFastAsItIsTold(t *testing.T) {
	t.Parallel()
	s := &servedSandbox{program: startProgram(t, []string{"sandbox", "--serve", "--imports", "20", "--profiles", "1", "--alerts", "1", "--indicators", "2000"}, nil)}
	s.readsEnvironment()
	port := freePort(t)
	c := &watched{&world{t: t}, startProgram(t, nil, append(s.environ, "CONNECTOR_RUN_AND_TERMINATE=false", fmt.Sprintf("CONNECTOR_STATUS_ADDRESS=127.0.0.1:%d", port))), port}
	c.awaits("OpenCTI imports", func(shot snapshot.Snapshot) bool { return shot.Imports.Done > 0 && shot.Imports.Left() > 0 })
	c.signal(syscall.SIGTERM)
	c.wants(exitOK)
	s.signal(syscall.SIGINT)
	s.wants(exitOK)
}

func TestAServedSandboxTellsWhatLiesInARealBroker(t *testing.T) {
	t.Parallel()
	s := serveOnRealBroker(t)
	s.connector()
	sent := s.depth(s.id())
	if sent < 300 {
		t.Fatalf("%d messages lie in the queue", sent)
	}
	s.signal(syscall.SIGINT)
	s.wants(exitOK)
	n := words.Grouped(sent)
	for _, want := range []string{
		"RabbitMQ held " + n + " messages, OpenCTI was told to expect " + n + "\n",
		n + " of them were looked at, 0 came before what they refer to\n",
	} {
		if !s.logs(want) {
			t.Errorf("%q is missing in\n%s", want, s.tail())
		}
	}
}

func TestAServedSandboxShowsThatItsQueueWasEmptied(t *testing.T) {
	t.Parallel()
	s := serveOnRealBroker(t)
	s.connector()
	sent := s.depth(s.id())
	if _, err := s.channel().QueuePurge("push_"+s.id(), false); err != nil {
		t.Fatal(err)
	}
	s.signal(syscall.SIGINT)
	s.wants(exitOK)
	if want := "RabbitMQ held 0 messages, OpenCTI was told to expect " + words.Grouped(sent) + "\n"; !s.logs(want) {
		t.Errorf("%q is missing in\n%s", want, s.tail())
	}
}

func TestAServedSandboxLeavesNothingOnARealBroker(t *testing.T) {
	t.Parallel()
	s := serveOnRealBroker(t)
	const other = "0b8d4d5a-3f0e-4a55-8f0c-6a3c6f0f3d11"
	s.connector()
	s.connector("CONNECTOR_ID="+other, "CONNECTOR_STATE_DIR="+t.TempDir())
	if s.depth(s.id()) < 300 || s.depth(other) < 300 {
		t.Fatalf("%d and %d messages lie in the queues", s.depth(s.id()), s.depth(other))
	}
	s.signal(syscall.SIGTERM)
	s.wants(exitOK)
	for _, id := range []string{s.id(), other} {
		if n := s.depth(id); n != -1 {
			t.Errorf("the queue of %s is still there, with %d messages", id, n)
		}
		if _, err := s.channel().QueueDeclarePassive("listen_"+id, true, false, false, false, nil); err == nil {
			t.Errorf("the queue listen_%s is still there", id)
		}
	}
	for _, exchange := range []string{"amqp.connector.exchange", "amqp.worker.exchange"} {
		if err := s.channel().ExchangeDeclarePassive(exchange, "direct", true, false, false, false, nil); err == nil {
			t.Errorf("the exchange %s is still there", exchange)
		}
	}
}
