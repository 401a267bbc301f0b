package rabbitmqtest

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

// Control runs rabbitmqctl on the node, which must run, for as long as a start may take.
func (n *Node) Control(ctx context.Context, args ...string) error {
	_, err := n.ask(ctx, args...)
	return err
}

// ask runs rabbitmqctl, and returns what it prints.
func (n *Node) ask(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(filepath.Dir(n.tools.server), "rabbitmqctl"), args...)
	// Any free port: the default has room for eleven callers on a machine.
	cmd.Env = append(n.environment(), "RABBITMQ_CTL_DIST_PORT_MIN=0", "RABBITMQ_CTL_DIST_PORT_MAX=0")
	printed, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("run rabbitmqctl %q: %w: %s", args, err, printed)
	}
	return string(printed), nil
}

// WriteDownQueues lets the node write down at once which queues there are. RabbitMQ does that when it has time: one that is killed a
// moment after a queue was declared starts without it.
func (n *Node) WriteDownQueues(ctx context.Context) error {
	return n.Control(ctx, "eval", "case whereis(mnesia_sup) of undefined -> ok; _ -> mnesia:dump_log() end.")
}
