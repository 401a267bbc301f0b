package rabbitmq

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Publisher delivers messages over one connection and one channel. Its methods may be called side by side; messages are
// in the order in which the calls of Publish returned.
type Publisher struct {
	cfg  Config
	stop context.CancelFunc
	done chan struct{} // closed when the owner goroutine has ended

	demand chan struct{} // tells the owner that a connection is wanted; room for one token
	work   chan struct{} // tells the writer to look again; room for one token

	// These are the owner's alone.
	route         route
	outage        outage
	refusalLogged time.Time

	mu      sync.Mutex
	window  window
	err     error         // why nothing goes on, nil while it does
	changed chan struct{} // closed and replaced when something happened that a waiting call may wait for
	waiters int           // how many wait for changed
	blocked bool          // the broker has asked us not to publish
	up      bool          // a session is under way
	queued  int           // calls of Publish that wait; they are reason enough to connect
	paced   pace
	stats   Stats
}

// Stats are figures since New, and the state of the moment.
type Stats struct {
	Published uint64 // messages handed over
	Confirmed uint64 // messages that the broker has confirmed
	Again     uint64 // publishes beyond a message's first
	Returned  uint64 // publishes that the broker gave back
	Nacked    uint64 // publishes that the broker refused to take
	Attempts  uint64 // attempts to open a connection, failed ones included
	Sessions  uint64 // connections that were opened
	Refreshes uint64 // calls of Refresh

	Unconfirmed      int
	UnconfirmedBytes int64
	Connected        bool
	Blocked          bool
}

// New makes a Publisher. It does not connect: the first Publish does. Close ends it and must be called.
func New(cfg Config) *Publisher {
	cfg = cfg.withDefaults()
	ctx, stop := context.WithCancel(context.Background())
	p := &Publisher{
		cfg:     cfg,
		stop:    stop,
		done:    make(chan struct{}),
		demand:  make(chan struct{}, 1),
		work:    make(chan struct{}, 1),
		changed: make(chan struct{}),
		route:   route{conn: cfg.Connection, exchange: cfg.Exchange, key: cfg.RoutingKey},
	}
	go p.run(ctx)
	return p
}

// Publish hands one message over. It waits while the window is full, the broker blocks, or there is no connection, until
// ctx ends. After nil the Publisher holds the message until the broker has confirmed it, and then calls confirmed (which
// may be nil) once; if that never happens, confirmed is never called. body must not be changed any more.
//
// confirmed runs on the Publisher's own goroutine and holds up other confirms: it must be quick and must call no method of
// the Publisher other than Stats.
//
// An error means that the message was not taken over: ctx ended (ctx.Err is in the chain), the Publisher was closed
// (ErrClosed), or it has given up (*PermanentError).
func (p *Publisher) Publish(ctx context.Context, body []byte, confirmed func()) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("publish message: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.err == nil && !p.admits(len(body)) {
		p.queued++
		signal(p.demand)
		err := p.wait(ctx)
		p.queued--
		if err != nil {
			return fmt.Errorf("publish message: %w", err)
		}
	}
	if p.err != nil {
		return p.err
	}
	p.window.add(body, confirmed)
	p.stats.Published++
	signal(p.work)
	return nil
}

// admits says whether a body of n bytes may be handed over now.
func (p *Publisher) admits(n int) bool {
	return p.up && !p.blocked && p.window.fits(n, p.cfg.Window, p.cfg.WindowBytes)
}

// Flush waits until all that was published before the call is confirmed and called back, or until ctx ends. Like Publish it
// returns ErrClosed or a *PermanentError when that cannot happen any more.
func (p *Publisher) Flush(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := p.window.lastSeq
	for !p.window.confirmedUpTo(last) {
		if p.err != nil {
			return p.err
		}
		if err := p.wait(ctx); err != nil {
			return fmt.Errorf("wait for confirms of %d messages: %w", p.window.count, err)
		}
	}
	return nil
}

// Close ends the Publisher and waits, until ctx ends, for its goroutines. It does not wait for confirms: call Flush
// before. What is unconfirmed then stays so, whether or not the broker has it.
func (p *Publisher) Close(ctx context.Context) error {
	p.fail(ErrClosed)
	p.stop()
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close the broker's connection: %w", ctx.Err())
	}
}

// Stats gives the figures of the moment.
func (p *Publisher) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Unconfirmed, s.UnconfirmedBytes = p.window.count, p.window.bytes
	s.Connected, s.Blocked = p.up, p.blocked
	return s
}

// fail makes err the answer to every later call, unless there is one already.
func (p *Publisher) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
	p.wake()
}

// wait gives the lock up until something has changed or ctx has ended.
func (p *Publisher) wait(ctx context.Context) error {
	p.waiters++
	changed := p.changed
	p.mu.Unlock()
	defer p.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wake lets every waiting call look again. The caller holds the lock.
func (p *Publisher) wake() {
	if p.waiters > 0 {
		p.waiters = 0
		close(p.changed)
		p.changed = make(chan struct{})
	}
}

// signal leaves a token, unless one lies there already.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// pace is what holds the writer of the session under way back.
type pace struct {
	// limit bounds what is in flight after a refusal, 0 for not at all. It grows with each confirm: what is on the wire
	// when a queue is full goes twice, and a whole window each time would fill the queue with what it has.
	limit int

	inFlight int // messages taken by the writer and not settled
	// since is when the oldest of them began to wait for its confirm with the broker willing to take messages.
	since time.Time
	// halted stops publishing: the broker refuses messages, or lacks the queue.
	halted bool
	// probing lets one message out at a time until one is confirmed: a broker that takes none, for whatever reason, would
	// otherwise be sent a whole window with every attempt.
	probing bool
	// careful is the number of the last message up to which messages go out one at a time, to find the one over which the
	// broker closes the channel.
	careful uint64
}

// take gives the writer the next message, nil when there is none that may go.
func (p *Publisher) take() *message {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.blocked || p.paced.halted || !p.up {
		return nil
	}
	if next := p.window.peek(); next == nil || p.paced.inFlight >= p.allowed() {
		return nil
	}
	m := p.window.take()
	if p.paced.inFlight == 0 {
		p.paced.since = time.Now()
	}
	p.paced.inFlight++
	if m.sends > 1 {
		p.stats.Again++
	}
	return m
}

// allowed is how many messages may be in flight.
func (p *Publisher) allowed() int {
	if p.paced.probing || p.window.first.seq <= p.paced.careful {
		return 1
	}
	if p.paced.limit > 0 {
		return min(p.paced.limit, p.cfg.Window)
	}
	return p.cfg.Window
}
