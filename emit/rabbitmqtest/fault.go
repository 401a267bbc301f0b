package rabbitmqtest

import (
	"fmt"
	"net"
	"time"
)

// Fault is what goes wrong with one publish.
type Fault int

const (
	// Nack refuses the message: not stored, basic.nack.
	Nack Fault = iota + 1
	// Return treats the message as unroutable: not stored, returned if it was mandatory, acknowledged either way.
	Return
	// DropBefore cuts the connection before the message is stored, together with confirms not sent yet.
	DropBefore
	// DropAfter stores the message and cuts the connection before its confirm.
	DropAfter
	// CloseChannel closes the channel with 406 (PRECONDITION_FAILED) and does not store the message.
	CloseChannel
	// WithholdConfirm stores the message and confirms neither it nor any later one of its channel.
	WithholdConfirm
)

// FaultAt plans f for the n-th publish of the broker's life, the first being 1; see [Broker.Published].
func (b *Broker) FaultAt(n int, f Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults[n] = f
}

// LimitQueue makes the queue, now or once it is declared, reject publishes with basic.nack while maxLength messages wait
// in it. A negative length takes the limit off.
func (b *Broker) LimitQueue(queue string, maxLength int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if maxLength < 0 {
		delete(b.limits, queue)
		return
	}
	b.limits[queue] = maxLength
}

// Drop cuts all connections without a word. Nothing that they sent is stored after Drop has returned.
func (b *Broker) Drop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cutAll()
}

// cutAll is Drop. The caller holds the lock.
func (b *Broker) cutAll() {
	for c := range b.conns {
		c.dead = true
		c.cut()
	}
}

// CloseConnections ends all connections with connection.close 320 (CONNECTION_FORCED), as an operator or an orderly stop
// does. Nothing that they sent is stored after it has returned.
func (b *Broker) CloseConnections(reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.conns {
		c.dead = true
		c.raise(connectionException(codeConnectionForced, reason))
	}
}

// relistenLimit bounds how long Refuse tries to get its port back.
const relistenLimit = 2 * time.Second

// Refuse stops or resumes accepting connections; those that stand are not touched (see Drop). While it refuses nothing
// listens, so that a client's dial is refused by the system. The error says that the port could not be had again.
func (b *Broker) Refuse(refuse bool) error {
	b.listening.Lock()
	defer b.listening.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || refuse == b.refusing {
		return nil
	}
	if refuse || b.config.InMemory {
		b.refusing = refuse
		return b.unlisten()
	}
	listener, err := b.relisten()
	if err != nil {
		return fmt.Errorf("listen again: %w", err)
	}
	if b.closed {
		return listener.Close()
	}
	b.refusing = false
	b.serve(listener)
	return nil
}

// relisten gets the broker's address back, which another program may hold for a moment as the far end of a connection.
// The caller holds the lock, which is let go meanwhile.
func (b *Broker) relisten() (net.Listener, error) {
	b.mu.Unlock()
	defer b.mu.Lock()
	for deadline := time.Now().Add(relistenLimit); ; time.Sleep(10 * time.Millisecond) {
		listener, err := net.Listen("tcp", b.addr())
		if err == nil || time.Now().After(deadline) {
			return listener, err
		}
	}
}

// RefuseAuth makes every login fail, or lets them succeed again.
func (b *Broker) RefuseAuth(refuse bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.noLogin = refuse
}

// gate holds publishers back until it opens.
type gate struct {
	reason string
	open   chan struct{}
}

// Block acts as RabbitMQ does under a resource alarm: a connection that publishes is told so by connection.blocked and
// not read from until Unblock. Its heartbeats go on.
func (b *Broker) Block(reason string) {
	b.blocked.CompareAndSwap(nil, &gate{reason: reason, open: make(chan struct{})})
}

// Unblock ends what Block began.
func (b *Broker) Unblock() {
	if g := b.blocked.Swap(nil); g != nil {
		close(g.open)
	}
}
