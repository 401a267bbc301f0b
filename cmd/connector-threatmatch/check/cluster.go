package check

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"
)

// nodeLook is a look at one node of a RabbitMQ that has several.
type nodeLook struct {
	brokerLook
	found, mind string
	err         error
}

// cluster looks at each host of a list. The connector can work as long as one of them lets it in, so one that does not is to be
// minded then. The checks that follow look at the first that does.
func (l *brokerLook) cluster(ctx context.Context, p *part) {
	if p.broken != "" {
		return
	}
	var looks []*nodeLook
	limited, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	var running sync.WaitGroup
	for _, node := range l.conn.Nodes() {
		n := &nodeLook{brokerLook: *l}
		looks = append(looks, n)
		if n.err = n.at(node); n.err == nil {
			running.Go(func() { n.look(limited) })
		}
	}
	running.Wait()
	served := false
	for _, n := range looks {
		if n.err == nil && !served {
			served, l.conn, l.place, l.seen = true, n.conn, n.place, n.seen
		}
	}
	for _, n := range looks {
		p.try(ctx, "host", func(context.Context) (string, string, error) { return n.told(served) })
	}
	if !served {
		p.broken = "no host lets the connector in"
	}
}

// look finds the node, connects and logs in.
func (n *nodeLook) look(ctx context.Context) {
	for _, do := range []step{n.resolve, n.connect, n.login} {
		found, mind, err := do(ctx)
		if n.err = err; err != nil {
			return
		}
		n.found, n.mind = n.found+", "+found, cmp.Or(n.mind, mind)
	}
}

// told is what was found of the node, where some serve or none does.
func (n *nodeLook) told(served bool) (seen, mind string, err error) {
	if n.err == nil {
		return strings.TrimPrefix(n.found, ", "), n.mind, nil
	}
	problem, remedy := n.err.Error(), "see whether this host runs"
	var known *fault
	if errors.As(n.err, &known) {
		problem, remedy = known.problem, known.remedy
	}
	if !strings.Contains(problem, n.host) {
		problem = n.place.address() + ": " + problem
	}
	if served {
		return problem + "; the connector uses the other hosts", remedy, nil
	}
	return "", "", wrong(remedy, "%s", problem)
}
