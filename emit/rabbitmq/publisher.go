package rabbitmq

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// Publisher delivers messages over one connection and one channel. Its methods may be called side by side; messages are
// in the order in which the calls of Publish returned.
type Publisher struct {
	outbox
	stop context.CancelFunc
	done chan struct{} // closed when the owner has ended
}

// New makes a Publisher. It does not connect: Connect and the first Publish do. Close ends it and must be called.
func New(cfg Config) *Publisher {
	ctx, stop := context.WithCancel(context.Background())
	p := &Publisher{
		outbox: outbox{
			cfg:     cfg.withDefaults(),
			made:    time.Now(),
			demand:  make(chan struct{}, 1),
			work:    make(chan struct{}, 1),
			changed: make(chan struct{}),
		},
		stop: stop,
		done: make(chan struct{}),
	}
	owner := &owner{
		box: &p.outbox, outage: newOutage(p.cfg), hosts: newHosts(cfg.Connection),
		route: route{exchange: cfg.Exchange, key: cfg.RoutingKey},
	}
	go func() {
		defer close(p.done)
		owner.run(ctx)
	}()
	return p
}

// Connect has a connection opened before there is anything to publish, so that a broker that cannot be reached is found out.
func (p *Publisher) Connect() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.eager = true
	signal(p.demand)
}

// Reached waits, until ctx ends, for the first connection or the first failure to have one, which it returns.
func (p *Publisher) Reached(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.stats.Sessions == 0 && p.failure == nil && p.err == nil {
		if err := p.wait(ctx, nil); err != nil {
			return fmt.Errorf("wait for the broker: %w", err)
		}
	}
	if p.stats.Sessions > 0 {
		return nil
	}
	return cmp.Or(p.failure, p.err)
}

// Publish hands one message over. It waits while the window is full, the broker blocks, or there is no connection, until
// ctx ends. After nil the Publisher holds the message until the broker has confirmed it, and then calls settled (which
// may be nil) once, with nil; if that never happens, settled is never called. Until then body must not be changed, and from then on
// the Publisher does not read it.
//
// Where the broker takes no message of that size, settled is called with a [*TooLargeError], and the message is held no longer. All
// others arrive, in order. What the broker takes is remembered: what is larger than that is not tried again.
//
// settled runs on the Publisher's own goroutine, or on the caller's before Publish returns, and holds up other confirms: it must
// be quick and must call no method of the Publisher other than Stats.
//
// meanwhile (which may be nil) is called on the caller's goroutine before it waits, each time: confirms that have come by then
// need not wait for the end of the call.
//
// An error means that the message was not taken over: ctx ended (the cause is in the chain), the Publisher was closed
// (ErrClosed), or it has given up (*PermanentError).
func (p *Publisher) Publish(ctx context.Context, body []byte, settled func(refused error), meanwhile func()) error {
	if ctx.Err() != nil {
		return fmt.Errorf("publish message: %w", context.Cause(ctx))
	}
	refused, err := p.takeOver(ctx, body, settled, meanwhile)
	if refused != nil && settled != nil {
		settled(refused)
	}
	return err
}

func (p *Publisher) takeOver(ctx context.Context, body []byte, settled func(refused error), meanwhile func()) (refused *TooLargeError, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.err == nil && p.refusal(len(body)) == nil && !p.admits(len(body)) {
		p.queued++
		signal(p.demand)
		err := p.wait(ctx, meanwhile)
		p.queued--
		if err != nil {
			return nil, fmt.Errorf("publish message: %w", err)
		}
	}
	if p.err != nil {
		return nil, p.err
	}
	p.stats.Published++
	if refused := p.refusal(len(body)); refused != nil {
		p.stats.TooLarge++
		return refused, nil
	}
	p.window.add(body, settled)
	signal(p.work)
	return nil, nil
}

// Flush waits until all that was published before the call is settled and called back, or until ctx ends. Like Publish it
// calls meanwhile, and returns ErrClosed or a *PermanentError when that cannot happen any more.
func (p *Publisher) Flush(ctx context.Context, meanwhile func()) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := p.window.lastSeq
	for !p.window.confirmedUpTo(last) {
		if p.err != nil {
			return p.err
		}
		if err := p.wait(ctx, meanwhile); err != nil {
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
		return fmt.Errorf("close the broker's connection: %w", context.Cause(ctx))
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
