package rabbitmq

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// Host is where a node of a broker listens.
type Host struct {
	Name string
	Port int
}

func (h Host) address() string { return net.JoinHostPort(h.Name, strconv.Itoa(h.Port)) }

// Nodes are the hosts of a connection, each as a connection of its own, in the order in which they are tried.
func (c Connection) Nodes() []Connection {
	nodes := make([]Connection, 0, 1+len(c.Others))
	for _, h := range append([]Host{{c.Host, c.Port}}, c.Others...) {
		node := c
		node.Host, node.Port, node.Others = h.Name, h.Port, nil
		nodes = append(nodes, node)
	}
	return nodes
}

// attempt is how a session with a node, or an attempt to have one, has ended.
type attempt struct {
	node     Connection
	err      error
	admitted bool // there was a session
	progress bool // something was confirmed
}

// round is one attempt with each node of the broker, or fewer where the last of them told of the whole cluster. None of them
// is of use.
type round []attempt

// String tells what the nodes have said.
func (r *round) String() string {
	texts := make([]string, len(*r))
	for i, a := range *r {
		texts[i] = fmt.Sprintf("%v (%s)", a.err, a.node)
	}
	return strings.Join(texts, "; ")
}

// cause is the error that says most of the broker: how the last session ended, if there was one, else a refusal of access, for a host
// that is not reached says nothing of the password.
func (r *round) cause() (err error) {
	admitted := false
	for _, a := range *r {
		switch {
		case a.admitted && !refusedAccess(a.err):
			admitted, err = true, a.err
		case !admitted && !refusedAccess(err):
			err = a.err
		}
	}
	return err
}

// diagnose tells what that means: what lasts only if it does for all of them, but for a refusal that is the cause.
func (r *round) diagnose() (why remote.Diagnosis) {
	if cause := r.cause(); refusedAccess(cause) {
		return Diagnose(cause, (*r)[0].node)
	}
	for i, a := range *r {
		if d := Diagnose(a.err, a.node); i == 0 || why.Lasting && !d.Lasting {
			why = d
		}
	}
	return why
}

// hosts says which node of the broker is to be tried. One that fails is followed by the next one at once; when all have
// failed, that is one failure of the broker.
type hosts struct {
	nodes []Connection
	at    int
	began time.Time // the round
	round round
}

func newHosts(c Connection) hosts { return hosts{nodes: c.Nodes()} }

// next is the node to be tried, and how much of a limit it has: a machine that is switched off refuses nothing, and the next
// one may well serve.
func (h *hosts) next(limit time.Duration) (Connection, time.Duration) {
	if len(h.nodes) > 1 {
		limit = min(limit, hostTimeout)
	}
	return h.nodes[h.at], limit
}

// failed moves on to the next node. It returns the round when that is over, nil while another node is to be tried at once. What
// only the cluster as a whole can lack needs no other node to be sure of.
//
// Confirms begin a new round, unless the last one began within the interval: a cluster whose every node takes a message and
// breaks off would be logged in to without a pause.
func (h *hosts) failed(a attempt, interval time.Duration) *round {
	now := time.Now()
	if len(h.round) == 0 || a.progress && now.Sub(h.began) > interval {
		h.began, h.round = now, nil
	}
	h.round = append(h.round, a)
	h.at = (h.at + 1) % len(h.nodes)
	if len(h.round) < len(h.nodes) && !errors.Is(a.err, errReturned) && !missing(a.err) {
		return nil
	}
	over := h.round
	h.round = nil
	return &over
}

// rest is for when no connection is wanted: what is lost then says nothing of when the next is.
func (h *hosts) rest() { h.round = nil }

// take takes over what the platform says. Where the hosts are the same, the one that is next stays so.
func (h *hosts) take(c Connection) {
	nodes := c.Nodes()
	if !slices.EqualFunc(nodes, h.nodes, func(a, b Connection) bool { return a.address() == b.address() }) {
		h.at, h.round = 0, nil
	}
	h.nodes = nodes
}
