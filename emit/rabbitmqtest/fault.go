package rabbitmqtest

import (
	"sync"
	"sync/atomic"
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

// faults are what a virtual host was told to do wrong.
type faults struct {
	noLogin atomic.Bool
	blocked atomic.Pointer[gate]

	telling sync.Mutex     // guards what follows
	planned map[int]Fault  // by the publish's number
	limits  map[string]int // of queues, in messages
}

// gate holds publishers back until it opens.
type gate struct {
	reason string
	open   chan struct{}
}

// FaultAt plans fault for the n-th publish of the broker's life, the first being 1; see [Broker.Published].
func (f *faults) FaultAt(n int, fault Fault) {
	f.telling.Lock()
	defer f.telling.Unlock()
	f.planned[n] = fault
}

// strike takes what was planned for the n-th publish.
func (f *faults) strike(n int) Fault {
	f.telling.Lock()
	defer f.telling.Unlock()
	fault := f.planned[n]
	delete(f.planned, n)
	return fault
}

// LimitQueue makes the queue, now or once it is declared, reject publishes with basic.nack while maxLength messages wait
// in it. A negative length takes the limit off.
func (f *faults) LimitQueue(queue string, maxLength int) {
	f.telling.Lock()
	defer f.telling.Unlock()
	if maxLength < 0 {
		delete(f.limits, queue)
		return
	}
	f.limits[queue] = maxLength
}

// full says whether a queue with so many messages rejects the next.
func (f *faults) full(queue string, messages int) bool {
	f.telling.Lock()
	defer f.telling.Unlock()
	limit, limited := f.limits[queue]
	return limited && messages >= limit
}

// RefuseAuth makes every login fail, or lets them succeed again.
func (f *faults) RefuseAuth(refuse bool) { f.noLogin.Store(refuse) }

// Block acts as RabbitMQ does under a resource alarm: a connection that publishes is told so by connection.blocked and
// not read from until Unblock. Its heartbeats go on.
func (f *faults) Block(reason string) {
	f.blocked.CompareAndSwap(nil, &gate{reason: reason, open: make(chan struct{})})
}

// Unblock ends what Block began.
func (f *faults) Unblock() {
	if g := f.blocked.Swap(nil); g != nil {
		close(g.open)
	}
}
