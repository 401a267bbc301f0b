package rabbitmq

import (
	"context"
	"sync"
	"time"
)

// outbox holds what was handed over until it is confirmed. The callers of Publish, the owner of the connection and the
// writer share it.
type outbox struct {
	cfg    Config
	demand chan struct{} // tells the owner that a connection is wanted; room for one token
	work   chan struct{} // tells the writer to look again; room for one token

	mu      sync.Mutex
	window  window
	err     error         // why nothing goes on, nil while it does
	changed chan struct{} // closed and replaced when something happened that a waiting call may wait for
	waiters int           // how many wait for changed
	blocked bool          // the broker has asked us not to publish
	up      bool          // a session is under way
	queued  int           // calls of Publish that wait; they are reason enough to connect
	failure error         // of the last attempt to connect, nil after one that succeeded
	eager   bool          // a connection is wanted though there is nothing to publish yet
	paced   pace
	stats   Stats
	made    time.Time // never changes

	limit int // of the broker, in bytes of a body; 0 while none is known
	taken int // the largest body that the broker has confirmed

	refusalLogged time.Time // when it was last logged that the broker refuses messages
}

// Stats are figures since New, and the state of the moment.
type Stats struct {
	Published uint64 // messages handed over
	Confirmed uint64 // messages that the broker has confirmed
	Again     uint64 // publishes beyond a message's first
	Returned  uint64 // publishes that the broker gave back
	Nacked    uint64 // publishes that the broker refused to take
	TooLarge  uint64 // messages that the broker refuses for good
	Attempts  uint64 // attempts to open a connection, failed ones included
	Sessions  uint64 // connections that were opened
	Refreshes uint64 // calls of Refresh
	// Latency is from when a message was published, the last time, to its confirm.
	Latency Latency

	Unconfirmed      int
	UnconfirmedBytes int64
	Connected        bool
	Blocked          bool
	Refused          bool // access, since the last confirm
}

// stampedAtOnce is how many messages the writer takes with one look at the clock.
const stampedAtOnce = 8

// pace is what holds the writer of the session under way back.
type pace struct {
	// limit bounds what is in flight after a refusal, 0 for not at all. It grows with each confirm: what is on the wire
	// when a queue is full goes twice, and a whole window each time would fill the queue with what it has.
	limit int

	inFlight int // messages taken by the writer and not settled
	// since is when the oldest of them began to wait for its confirm with the broker willing to take messages.
	since time.Time
	// stamp is the time for the next so many messages: what is written without a pause goes out within microseconds, and reading the
	// clock for each would take as long as a tenth of the rest.
	stamp  time.Duration
	stamps int
	// halted stops publishing: the broker refuses messages, or lacks the queue.
	halted bool
	// probing lets one message out at a time until one is confirmed: a broker that takes none, for whatever reason, would
	// otherwise be sent a whole window with every attempt.
	probing bool
	// careful is the number of the last message up to which messages go out one at a time, to find the one over which the
	// broker closes the channel.
	careful uint64
}

// admits says whether a body of n bytes may be handed over now.
func (b *outbox) admits(n int) bool {
	return b.up && !b.blocked && b.window.fits(n, b.cfg.Window, b.cfg.WindowBytes)
}

// pending says how much is not confirmed, and whether there is a reason to have a connection.
func (b *outbox) pending() (unconfirmed int, wanted bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.window.count, b.window.count > 0 || b.queued > 0 || b.eager
}

// contact notes that the broker has let us in, and tells whether that is all there is to do.
func (b *outbox) contact() (idle bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.eager, b.failure = false, nil
	return b.window.count == 0 && b.queued == 0
}

// failed notes how a session, or an attempt to have one, has ended.
func (b *outbox) failed(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failure = err
	b.stats.Refused = b.stats.Refused || refusedAccess(err)
	b.wake()
}

// fail makes err the answer to every later call, unless there is one already.
func (b *outbox) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
	b.wake()
}

// wait gives the lock up until something has changed or ctx has ended, and calls meanwhile before: what has changed while
// nobody waited is found so, and what changes from then on ends the wait.
func (b *outbox) wait(ctx context.Context, meanwhile func()) error {
	b.waiters++
	changed := b.changed
	b.mu.Unlock()
	defer b.mu.Lock()
	if meanwhile != nil {
		meanwhile()
	}
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// wake lets every waiting call look again. The caller holds the lock.
func (b *outbox) wake() {
	if b.waiters > 0 {
		b.waiters = 0
		close(b.changed)
		b.changed = make(chan struct{})
	}
}

// take gives the writer the next message, nil when there is none that may go.
func (b *outbox) take() *message {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.blocked || b.paced.halted || !b.up || b.window.peek() == nil || b.paced.inFlight >= b.allowed() {
		b.paced.stamps = 0 // the writer is about to wait
		return nil
	}
	m := b.window.take()
	if b.paced.inFlight == 0 {
		b.paced.since = time.Now()
	}
	b.paced.inFlight++
	if b.paced.stamps == 0 {
		b.paced.stamp, b.paced.stamps = time.Since(b.made), stampedAtOnce
	}
	b.paced.stamps--
	m.handed = b.paced.stamp
	if m.sends > 1 {
		b.stats.Again++
	}
	return m
}

// allowed is how many messages may be in flight.
func (b *outbox) allowed() int {
	if b.paced.probing || b.window.first.seq <= b.paced.careful {
		return 1
	}
	if b.paced.limit > 0 {
		return min(b.paced.limit, b.cfg.Window)
	}
	return b.cfg.Window
}

// signal leaves a token, unless one lies there already.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
