package rabbitmq_test

import (
	"context"
	"errors"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// TestAClusterThatLosesANodeLosesNoMessage holds the promise against three nodes of RabbitMQ itself: first the one that the
// publisher is connected to is killed in the middle of a stream, then the one that leads the queue.
func TestAClusterThatLosesANodeLosesNoMessage(t *testing.T) {
	if testing.Short() {
		t.Skip("starting a RabbitMQ cluster takes seconds")
	}
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	nodes, err := rabbitmqtest.StartCluster(ctx, t.TempDir(), 3)
	if errors.Is(err, rabbitmqtest.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := nodes.Close(); err != nil {
			t.Error(err)
		}
	})
	policy := []string{"set_policy", "mirrored", "^" + queue + "$", `{"ha-mode":"all","ha-sync-mode":"automatic"}`}
	if err := nodes.Nodes[0].Control(ctx, policy...); err != nil {
		t.Logf("this RabbitMQ mirrors no queues: %v", err)
	}
	for name, arguments := range map[string]amqp.Table{
		"quorum queue":   {"x-queue-type": "quorum"},
		"mirrored queue": nil,
	} {
		t.Run(name, func(t *testing.T) { survivesItsNodes(ctx, t, nodes, arguments) })
	}
}

func survivesItsNodes(ctx context.Context, t *testing.T, cluster *rabbitmqtest.Cluster, arguments amqp.Table) {
	connected, leading, third := cluster.Nodes[0], cluster.Nodes[1], cluster.Nodes[2]
	leadingRig := nodeRig{t: t, node: leading}
	leadingRig.declare(t, arguments)
	leads := func(asked *rabbitmqtest.Node) *rabbitmqtest.Node {
		n, err := cluster.Leader(ctx, asked, queue)
		if err != nil {
			t.Error(err)
		}
		return n
	}
	if n := leads(third); n != leading {
		t.Fatalf("the queue is led by %v", n)
	}
	const messages = 9000
	p := rabbitmq.New(rabbitmq.Config{
		Connection: rabbitmq.Connection{
			Host: connected.Host(), Port: connected.Port(), User: connected.User(), Password: connected.Password(),
			Others: []rabbitmq.Host{{Name: third.Host(), Port: third.Port()}, {Name: leading.Host(), Port: leading.Port()}},
		},
		Exchange: exchange, RoutingKey: key, Window: 200,
		Backoff: remote.Backoff{Min: 5 * time.Millisecond, Max: 100 * time.Millisecond},
	})
	t.Cleanup(func() {
		if err := p.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	b := &books{confirmed: map[string]int{}}
	again := make(chan error, 1)
	err := b.publish(ctx, p, 1, messages, func(i int) {
		switch i {
		case messages / 3:
			must(t, connected.Kill())
		case messages / 2: // without another host none of these is confirmed
			go func() { again <- connected.Start(ctx) }()
		case 2 * messages / 3:
			must(t, <-again) // else there is no majority
			must(t, leading.Kill())
		}
	})
	if err != nil {
		t.Fatalf("%v (%+v)", err, p.Stats())
	}
	if n := leads(third); n == leading {
		t.Error("the node that was killed leads the queue still")
	}
	must(t, leading.Start(ctx))
	if s := p.Stats(); s.Sessions < 2 {
		t.Errorf("the kill was not met: %+v", s)
	}
	taken, got := 0, map[string]int{}
	nodeRig{t: t, node: third}.drain(t, func(text string) {
		taken++
		if got[text]++; got[text] == 1 && text != body(len(got)) {
			t.Errorf("%s came as the %d. of all", text, len(got))
		}
	})
	b.check(t, messages, got)
	t.Logf("%d messages, %d of them repeats, %d sessions", taken, taken-len(got), p.Stats().Sessions)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}
