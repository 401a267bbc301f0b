package rabbitmqtest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
)

// Cluster is some private nodes that hold one set of queues. Each can be stopped, killed and started again by itself.
type Cluster struct{ Nodes []*Node }

// StartCluster makes a cluster of n nodes like [StartNode]'s, in folders of their own in dir, and waits until clients can log in to
// each of them: twenty seconds on two cores. The caller closes it.
func StartCluster(ctx context.Context, dir string, n int, options ...NodeOption) (*Cluster, error) {
	first, err := StartNode(ctx, filepath.Join(dir, "1"), options...)
	if err != nil {
		return nil, err
	}
	c := &Cluster{Nodes: make([]*Node, n)}
	c.Nodes[0] = first
	failures := make([]error, n)
	var starting sync.WaitGroup
	for i := 1; i < n; i++ {
		starting.Go(func() {
			c.Nodes[i], failures[i] = StartNode(ctx, filepath.Join(dir, fmt.Sprint(i+1)), append(options[:len(options):len(options)], joining(first, i+1))...)
		})
	}
	starting.Wait()
	if err := errors.Join(failures...); err != nil {
		return nil, errors.Join(fmt.Errorf("start cluster: %w", err), c.Close())
	}
	return c, nil
}

// joining makes a node join the cluster of the first one, whose port mapper and secret it uses, as its number-th.
func joining(first *Node, number int) NodeOption {
	return func(n *Node) {
		n.first, n.name = first, fmt.Sprintf("%s-%d", nodeName, number)
		n.config = append(n.config,
			"cluster_formation.peer_discovery_backend = classic_config",
			"cluster_formation.classic_config.nodes.1 = "+first.fullName(),
		)
	}
}

// Leader is the node that has a quorum queue's last word, or the first copy of a mirrored one, as the node asked knows it; nil
// where there is none at the moment.
func (c *Cluster) Leader(ctx context.Context, asked *Node, queue string) (*Node, error) {
	printed, err := asked.ask(ctx, "--silent", "list_queues", "name", "leader", "pid")
	if err != nil {
		return nil, fmt.Errorf("find leader: %w", err)
	}
	for line := range strings.Lines(printed) {
		if name, of, _ := strings.Cut(line, "\t"); name == queue {
			for _, n := range c.Nodes {
				if strings.Contains(of, n.fullName()) {
					return n, nil
				}
			}
		}
	}
	return nil, nil
}

// Close ends all nodes. Their files stay.
func (c *Cluster) Close() error {
	failures := make([]error, len(c.Nodes))
	var ending sync.WaitGroup
	for i, n := range c.Nodes[1:] {
		if n != nil {
			ending.Go(func() { failures[i] = n.Close() })
		}
	}
	ending.Wait()
	return errors.Join(append(failures, c.Nodes[0].Close())...) // its port mapper is that of all
}
